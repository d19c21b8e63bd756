// Judges docs/vectors.json with npm's jose (JWS) and standardwebhooks (`v1`), each as docs/verifying.md shows it.
//
//     node vectors.mjs VECTORS_JSON
//
// Output and exit status are those of vectors.py.

import { readFileSync } from 'node:fs';
import { compactVerify, importJWK } from 'jose';
import { Webhook } from 'standardwebhooks';

const file = JSON.parse(readFileSync(process.argv[2]));
const ONE_IS_WRONG = 'all formats, of which one is wrong';
const COVERED = 'the signature of this format is right: it does not cover the type';
const PADDED = 'the library takes the padding of base64, which adds no signature that would be valid';
// Why a library differs from the vectors.
const DIFFERENCES = new Map([
  ['jose, JWS, signature in base64', PADDED],
  [`jose, ${ONE_IS_WRONG}`, COVERED],
  [`standardwebhooks, ${ONE_IS_WRONG}`, COVERED],
]);

const JUDGES = {
  jose: { header: 'jws-signature', canJudge: ({ keys }) => keys.length > 0, judge: jws },
  standardwebhooks: { header: 'webhook-signature', canJudge: ({ receiver }) => receiver.secrets, judge: standardWebhooks },
};

async function jws({ headers, payload, keys, receiver }) {
  const [header, middle, signature] = headers['jws-signature'].split('.');
  if (middle !== '') throw new Error('not detached');
  const key = (protectedHeader) => {
    const jwk = keys.find(({ kid, endpoint }) => kid === protectedHeader.kid && !endpoint);
    if (jwk.alg !== protectedHeader.alg) throw new Error('the key is for another algorithm');
    return importJWK(jwk);
  };
  const algorithms = receiver.algorithm ? [receiver.algorithm] : ['RS256', 'ES256', 'EdDSA'];
  await compactVerify(`${header}.${payload.toString('base64url')}.${signature}`, key, { algorithms });
}

function standardWebhooks({ headers, payload, receiver }) {
  const errors = [];
  for (const secret of receiver.secrets) {
    try {
      return new Webhook(secret).verify(payload, headers, { jsonParse: false });
    } catch (error) {
      errors.push(error);
    }
  }
  throw errors[0];
}

function requestOf({ request, receiver }) {
  const headers = {};
  for (const [name, value] of request.headers) headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  let payload = Buffer.from(request.body, 'base64');
  if (request.method === 'GET') {
    const [query, own] = [request.url, receiver.url ?? ''].map((url) => url.split('?').slice(1).join('?'));
    payload = Buffer.from(own && query.startsWith(own) ? query.slice(own.length + 1) : query);
  }
  return { headers, payload, receiver, keys: file.keySets[receiver.keySet]?.keys ?? [] };
}

const found = new Map();
const counts = new Map();
for (const vector of file.vectors) {
  for (const [library, { header, canJudge, judge }] of Object.entries(JUDGES)) {
    const request = requestOf(vector);
    if (!(header in request.headers) || !canJudge(request)) continue;
    counts.set(library, (counts.get(library) ?? 0) + 1);
    Date.now = () => vector.now * 1_000;
    let reason = 'accepted';
    try {
      await judge(request);
    } catch (error) {
      reason = `refused: ${error}`;
    }
    if ((reason === 'accepted') !== vector.expected.accepted) found.set(`${library}, ${vector.name}`, reason);
  }
}
for (const pair of new Set([...found.keys(), ...DIFFERENCES.keys()])) {
  if (found.has(pair) && DIFFERENCES.has(pair)) continue;
  console.error(`${pair}: ${found.get(pair) ?? 'no longer differs; remove it from the list'}`);
  process.exitCode = 1;
}
if (counts.size !== Object.keys(JUDGES).length) process.exitCode = 1;
console.log([...counts].map(([library, count]) => `${library} judged ${count}`).join(', '));
