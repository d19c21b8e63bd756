import { compactVerify, createRemoteJWKSet } from 'jose'; // npm install jose

// It fetches the set again when it meets a new kid.
const keys = createRemoteJWKSet(new URL('KEYS_URL/.well-known/jwks.json'), { cooldownDuration: 2_000 });

/** Throws if it does not verify. `headers` has names in lower case, `body` is a Buffer of the bytes that arrived. */
export async function verify(headers, body) {
  const jws = headers['jws-signature'].replace('..', `.${body.toString('base64url')}.`);
  await compactVerify(jws, keys, { algorithms: ['ALGORITHM'] });
}
