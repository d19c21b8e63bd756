// A tenant's key set: public keys, fetched from the tenant's `jwksUrl` and kept for the time in its `Cache-Control`.

import { createPublicKey, verify } from 'node:crypto';

import { KeysUnavailable } from './errors.js';

const MOST_BYTES = 4 << 20; // 1,000 endpoints with two keys each need less than 1 MiB.
const LONGEST_SECONDS = 24 * 3600;
const DEFAULT_SECONDS = 300;
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];

class Key {
  #public;

  constructor(jwk) {
    this.kid = jwk.kid;
    this.endpoint = jwk.endpoint ?? null;
    this.#public = createPublicKey({ key: jwk, format: 'jwk' });
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = this.#public;
    this.algorithm = { rsa: 'RS256', ec: 'ES256', ed25519: 'EdDSA' }[type];
    this.signatureBytes = type === 'rsa' ? Math.ceil(details.modulusLength / 8) : 64;
    const isKnown = type === 'rsa' ? details.modulusLength >= 2048 : type === 'ed25519' || details.namedCurve === 'prime256v1';
    if (!isKnown || typeof this.kid !== 'string') throw new TypeError('a key of another kind');
  }

  verifies(message, signature) {
    if (signature.length !== this.signatureBytes) return false;
    const hash = this.algorithm === 'EdDSA' ? null : 'sha256';
    return verify(hash, message, { key: this.#public, dsaEncoding: 'ieee-p1363' }, signature);
  }
}

/** Reads a key set (RFC 7517). Keys of other kinds than Signpost's are left out. */
function parseKeySet(set) {
  if (!Array.isArray(set?.keys)) {
    throw new TypeError("not a key set; expected {\"keys\":[…]}, as the endpoint's `jwksUrl` answers");
  }
  return set.keys.flatMap((jwk) => {
    try {
      return [new Key(jwk)];
    } catch {
      return [];
    }
  });
}

export class KeySet {
  #url;
  #options;
  #copy = null; // { keys, etag, expires }
  #lastFetch = -Infinity;
  #lastError = null;
  #fetching = null;

  constructor(url, options = {}) {
    if (!URL.canParse(url)) {
      throw new TypeError(`the key URL is \`${url}\`; expected the endpoint's \`jwksUrl\`, an https URL`);
    }
    this.#url = new URL(url);
    const isLocal = this.#url.protocol === 'http:' && LOOPBACK.includes(this.#url.hostname);
    if (this.#url.protocol !== 'https:' && !isLocal) {
      throw new TypeError(`the key URL is \`${url}\`; expected https, because the keys decide what is genuine`);
    }
    this.#options = { timeoutMs: 3_000, cooldownMs: 2_000, staleMs: 3_600_000, clock: () => performance.now(), ...options };
  }

  async keys() {
    if (this.#copy && this.#options.clock() < this.#copy.expires) return this.#copy.keys;
    return this.#refresh();
  }

  async keysAfter(known) {
    return this.#copy && this.#copy.keys !== known ? this.#copy.keys : this.#refresh();
  }

  async #refresh() {
    const { clock, cooldownMs, staleMs } = this.#options;
    if (this.#fetching || clock() - this.#lastFetch >= cooldownMs) {
      this.#fetching ??= this.#fetchOnce(); // Requests that come meanwhile wait for the same fetch.
      await this.#fetching;
    }
    if (!this.#copy || (this.#lastError && clock() > this.#copy.expires + staleMs)) {
      const why = this.#lastError?.message ?? 'no answer';
      const told = `the key set at \`${this.#url}\` could not be fetched (${why}); compare the URL with the endpoint's \`jwksUrl\``;
      throw new KeysUnavailable(told, { cause: this.#lastError });
    }
    return this.#copy.keys;
  }

  async #fetchOnce() {
    try {
      this.#copy = await this.#fetch(this.#copy);
      this.#lastError = null;
    } catch (error) {
      this.#lastError = error;
    } finally {
      this.#lastFetch = this.#options.clock();
      this.#fetching = null;
    }
  }

  async #fetch(old) {
    const headers = { accept: 'application/json', 'user-agent': 'signpost-receiver-javascript/0.1.0' };
    if (old?.etag) headers['if-none-match'] = old.etag;
    // The time is for the whole answer. Redirects are errors: the URL of the keys is fixed.
    const signal = AbortSignal.timeout(this.#options.timeoutMs);
    const answer = await fetch(this.#url, { headers, signal, redirect: 'error' });
    const expires = this.#options.clock() + seconds(answer.headers) * 1_000;
    if (answer.status === 304 && old) return { keys: [...old.keys], etag: old.etag, expires };
    if (answer.status !== 200) {
      await answer.body?.cancel();
      throw new Error(`the answer's status is ${answer.status}; expected 200`);
    }
    const chunks = [];
    let length = 0;
    for await (const chunk of answer.body) {
      length += chunk.length;
      if (length > MOST_BYTES) throw new Error(`the key set has more than ${MOST_BYTES} bytes`);
      chunks.push(chunk);
    }
    const keys = parseKeySet(JSON.parse(Buffer.concat(chunks).toString()));
    return { keys, etag: answer.headers.get('etag'), expires };
  }
}

function seconds(headers) {
  const text = (headers.get('cache-control') ?? '').toLowerCase();
  if (/\bno-(store|cache)\b/.test(text)) return 0;
  const found = text.match(/\bmax-age\s*=\s*"?(\d{1,9})/);
  const age = headers.get('age') ?? '';
  const old = /^\d{1,9}$/.test(age) ? Number(age) : 0;
  return found ? Math.max(0, Math.min(Number(found[1]), LONGEST_SECONDS) - old) : DEFAULT_SECONDS;
}

export class FixedKeys {
  #keys;

  constructor(keySet) {
    this.#keys = parseKeySet(keySet);
  }

  async keys() {
    return this.#keys;
  }

  async keysAfter() {
    return this.#keys;
  }
}
