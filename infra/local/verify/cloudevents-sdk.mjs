// Reads captured webhooks with the CloudEvents SDK for JavaScript, as an integrator would. Input and output are those of
// cloudevents_sdk.py.

import { createInterface } from 'node:readline';
import { HTTP } from 'cloudevents';

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, body } = JSON.parse(line);
  const event = HTTP.toEvent({ headers, body: Buffer.from(body, 'base64').toString() });
  // The SDK 10.0.0 leaves headers as they are. The binding says to decode them (CloudEvents HTTP 1.0.2, section 3.1.3.2).
  const decode = (value) => (headers['ce-id'] && typeof value === 'string' ? decodeURIComponent(value) : value);
  const attributes = Object.entries(event.toJSON()).map(([name, value]) => [name, decode(value)]);
  console.log(JSON.stringify({ ...Object.fromEntries(attributes), data: event.data }));
}
