// Verifies captured webhooks as an integrator would, with npm's jose and the key set, and npm's standardwebhooks.
//
//     node verify.mjs KEYS_URL < captured.jsonl
//
// Input, output and exit status are those of verify.py. This program ignores the formats that it has no library for:
// `v1a` and HTTP message signatures.

import { createInterface } from 'node:readline';
import { compactVerify, createRemoteJWKSet, decodeProtectedHeader } from 'jose';
import { Webhook } from 'standardwebhooks';

const keySet = createRemoteJWKSet(new URL(`${process.argv[2]}/.well-known/jwks.json`), { cooldownDuration: 2_000 });
// A forced key signs at once, but can be 15 s late in the set.
const PATIENCE_MS = 20_000;
const algorithms = ['RS256', 'ES256', 'EdDSA'];

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const report = { kid: '', verified: [] };
  try {
    await verify(request, report);
  } catch (error) {
    report.error = String(error);
    process.exitCode = 1;
  }
  console.log(JSON.stringify(report));
}

async function keys(header, token) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await keySet(header, token);
    } catch (error) {
      if (error.code !== 'ERR_JWKS_NO_MATCHING_KEY' || Date.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 2_000));
  }
}

async function verify({ method, url, ownQuery, headers, body, secret }, report) {
  const query = url.split('?').slice(1).join('?');
  const raw = method === 'GET' ? Buffer.from(ownQuery ? query.slice(ownQuery.length + 1) : query) : Buffer.from(body, 'base64');
  const jws = headers['jws-signature'];
  const webhook = headers['webhook-signature'];
  const input = headers['signature-input'];
  if (!jws && !webhook && !input) throw new Error('the request has no signature');
  report.kid = jws ? decodeProtectedHeader(jws).kid : (input?.match(/;keyid="([^"]*)"/)?.[1] ?? '');

  if (jws) {
    const { alg } = decodeProtectedHeader(jws);
    const stripped = Buffer.from(raw.toString().replace(/\s/g, ''));
    for (const [how, payload] of [['raw', raw], ['stripped', stripped]]) {
      // The set only returns a key whose own `alg` is that of the header.
      await compactVerify(jws.replace('..', `.${payload.toString('base64url')}.`), keys, { algorithms });
      report.verified.push(`jose ${alg} ${how}`);
    }
  }
  if (webhook?.split(' ').some((entry) => entry.startsWith('v1,'))) {
    if (!secret) throw new Error("`v1` cannot be verified without the endpoint's secret");
    new Webhook(secret).verify(raw, headers, { jsonParse: false });
    report.verified.push('npm standardwebhooks v1');
  }
}
