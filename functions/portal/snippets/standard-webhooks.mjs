import { createHmac, timingSafeEqual } from 'node:crypto';

// The signing secret (whsec_…) of endpoint ENDPOINT_ID.
const secret = Buffer.from(process.env.WEBHOOK_SECRET.replace('whsec_', ''), 'base64');

/** Throws if it does not verify. `headers` has names in lower case, `body` is a Buffer of the bytes that arrived. */
export function verify(headers, body) {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures } = headers;
  if (!(Math.abs(Date.now() / 1000 - timestamp) <= 300)) throw new Error('signed more than five minutes ago');
  const expected = createHmac('sha256', secret).update(`${id}.${timestamp}.`).update(body).digest();
  const fits = (signature) => signature.length === expected.length && timingSafeEqual(signature, expected);
  const entries = signatures.split(' ').filter((entry) => entry.startsWith('v1,'));
  if (!entries.some((entry) => fits(Buffer.from(entry.slice(3), 'base64')))) throw new Error('no signature fits');
}
