import { readFileSync } from 'node:fs';

import { FixedKeys, Receiver } from 'signpost-receiver';

export const FILE = JSON.parse(readFileSync(new URL('../../../../docs/vectors.json', import.meta.url)));

export function vectorOf(name) {
  return FILE.vectors.find((one) => one.name === name);
}

export function receiverOf({ receiver, now }, more = {}) {
  const { keySet, ...settings } = receiver;
  const keys = keySet && new FixedKeys(FILE.keySets[keySet]);
  return new Receiver({ ...settings, keys, toleranceSeconds: FILE.toleranceSeconds, clock: () => now * 1_000, ...more });
}

export function verify(vector, more) {
  const { headers, body, url, method } = vector.request;
  return receiverOf(vector, more).verify(headers, Buffer.from(body, 'base64'), url, method);
}
