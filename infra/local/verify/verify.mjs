// Verifies captured callbacks the way an integrator would, with npm's jose and the key set.
//
//     node verify.mjs API_URL < captured.jsonl
//
// Input, output and exit status are those of verify.py.

import { createInterface } from 'node:readline';
import { compactVerify, createRemoteJWKSet, decodeProtectedHeader } from 'jose';

const keys = createRemoteJWKSet(new URL(`${process.argv[2]}/.well-known/jwks.json`), { cooldownDuration: 2_000 });

for await (const line of createInterface({ input: process.stdin })) {
  const { signature, payload: body } = JSON.parse(line);
  const raw = Buffer.from(body, 'base64');
  const stripped = Buffer.from(raw.toString().replace(/\s/g, ''));
  const report = { kid: decodeProtectedHeader(signature).kid, verified: [] };
  try {
    for (const [how, payload] of [['raw', raw], ['stripped', stripped]]) {
      await compactVerify(signature.replace('..', `.${payload.toString('base64url')}.`), keys, { algorithms: ['RS256'] });
      report.verified.push(`jose ${how}`);
    }
  } catch (error) {
    report.error = String(error);
    process.exitCode = 1;
  }
  console.log(JSON.stringify(report));
}
