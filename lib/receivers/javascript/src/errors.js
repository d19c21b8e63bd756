export class VerificationError extends Error {
  name = 'VerificationError';

  constructor(step, found, next) {
    super(`${step}: ${found}; ${next}`);
    this.step = step;
    this.found = found;
    this.next = next;
  }
}

export class KeysUnavailable extends Error {
  name = 'KeysUnavailable';
  step = 'keys-unavailable';
}
