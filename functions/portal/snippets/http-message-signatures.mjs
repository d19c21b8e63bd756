import { createHash, verify as fits } from 'node:crypto';

const ALGORITHMS = { RS256: ['rsa-v1_5-sha256', 'sha256'], ES256: ['ecdsa-p256-sha256', 'sha256'], EdDSA: ['ed25519', null] };
const [name, hash] = ALGORITHMS['ALGORITHM'];
const pems = new Map(); // A key id never gets another key. Drop a key after a day.

async function pemOf(kid) {
  if (!pems.has(kid)) {
    const answer = await fetch(`KEYS_URL/keys/${kid}`);
    if (!answer.ok) throw new Error('not a key of this tenant');
    pems.set(kid, await answer.text());
  }
  return pems.get(kid);
}

/** Throws if it does not verify. Take the URL from your settings, not from what arrives behind a proxy. */
export async function verify(headers, body, method = 'POST', url = 'ENDPOINT_URL') {
  const [, parameters, list] = /^sig=(\(([^)]*)\);.*;tag="signpost")$/.exec(headers['signature-input']);
  const names = list.split(' ').map((one) => one.replaceAll('"', ''));
  const required = ['@method', '@target-uri', 'content-digest', 'webhook-id'];
  if (!required.every((one) => names.includes(one))) throw new Error('the signature covers too little');
  const [, created, kid, algorithm] = /;created=(\d+);keyid="([0-9a-f-]{36})";alg="([^"]*)"/.exec(parameters);
  if (algorithm !== name) throw new Error('another algorithm');
  if (Math.abs(Date.now() / 1000 - created) > 300) throw new Error('signed more than five minutes ago');
  const values = { ...headers, '@method': method, '@target-uri': url };
  const base = [...names.map((one) => `"${one}": ${values[one]}`), `"@signature-params": ${parameters}`].join('\n');
  const signature = Buffer.from(headers.signature.slice('sig=:'.length, -1), 'base64');
  const key = { key: await pemOf(kid), dsaEncoding: 'ieee-p1363' };
  if (!fits(hash, Buffer.from(base), key, signature)) throw new Error('the signature does not fit');
  const digest = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`;
  if (digest !== headers['content-digest']) throw new Error('the body is another one');
}
