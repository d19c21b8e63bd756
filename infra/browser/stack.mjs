// The local stack, as operators and producers use it, and servers that receive webhooks.

import { createHash, createHmac, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { fail } from './fail.mjs';

const setting = (name) => process.env[name] ?? fail(`${name} is not set; run \`make test\`, which starts the local stack`);

export const API_URL = setting('API_URL');
const [KEY, SECRET, REGION] = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_REGION'].map(setting);
const sha256 = (text) => createHash('sha256').update(text).digest('hex');

/** Sends a request with a signature of AWS (SigV4) to `service`. */
async function signed(service, method, url, headers, body) {
  const { host, pathname, search } = new URL(url);
  const at = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const scope = `${at.slice(0, 8)}/${REGION}/${service}/aws4_request`;
  const all = { ...headers, host, 'x-amz-date': at };
  const names = Object.keys(all).sort();
  const path = pathname.split('/').map((part) => encodeURIComponent(part)).join('/'); // Encoded twice, as the rule is.
  const query = search.slice(1).split('&').sort().join('&');
  const request = [method, path, query, ...names.map((name) => `${name}:${all[name]}`), '', names.join(';'), sha256(body)];
  const text = ['AWS4-HMAC-SHA256', at, scope, sha256(request.join('\n'))].join('\n');
  const key = scope.split('/').reduce((key, part) => createHmac('sha256', key).update(part).digest(), `AWS4${SECRET}`);
  const signature = createHmac('sha256', key).update(text).digest('hex');
  const authorization = `AWS4-HMAC-SHA256 Credential=${KEY}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  const limit = AbortSignal.timeout(60_000);
  const answer = await fetch(url, { method, headers: { ...all, authorization }, body: body || undefined, signal: limit });
  const told = await answer.text();
  if (!answer.ok) fail(`${method} ${url}: ${answer.status} ${told}`);
  return told ? JSON.parse(told) : null;
}

/** Sends a request of an operator or a producer. */
export function operate(method, path, body) {
  const headers = body ? { 'content-type': 'application/json' } : {};
  return signed('execute-api', method, `${API_URL}${path}`, headers, body ? JSON.stringify(body) : '');
}

/** Sets the end of a link's code to the past, as if time had passed. */
export function makeLate(tenant, link) {
  const call = {
    TableName: setting('PORTAL_TABLE'), Key: { pk: { S: `tenant#${tenant}` }, sk: { S: link } },
    UpdateExpression: 'SET codeExpiresAt = :past', ExpressionAttributeValues: { ':past': { N: '1' } },
  };
  const headers = { 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': 'DynamoDB_20120810.UpdateItem' };
  return signed('dynamodb', 'POST', `${setting('AWS_ENDPOINT_URL')}/`, headers, JSON.stringify(call));
}

/** Runs `sweep` as its schedule does. */
export function sweep() {
  const url = `${setting('AWS_ENDPOINT_URL')}/2015-03-31/functions/${setting('SWEEP_FUNCTION')}/invocations`;
  return signed('lambda', 'POST', url, {}, JSON.stringify({ source: 'aws.events' }));
}

export const newTenant = () => `browser-${randomUUID().slice(0, 8)}`;

export const createEndpoint = (tenant, settings) => operate('POST', `/v1/tenants/${tenant}/endpoints`, settings);

export const createLink = (tenant, rights) => operate('POST', `/v1/tenants/${tenant}/portal-links`, rights);

/** Sends events with these ids and this type, at most 20 in one request. */
export async function sendEvents(tenant, type, ids, data) {
  for (let first = 0; first < ids.length; first += 20) {
    const events = ids.slice(first, first + 20).map((id) =>
      ({ specversion: '1.0', id, source: '/browser', type, tenant, data: data ?? { operationId: id, amount: 10.5, payer: 'John Smith' } }));
    const body = JSON.stringify(events);
    await signed('execute-api', 'POST', `${API_URL}/v1/events`, { 'content-type': 'application/cloudevents-batch+json' }, body);
  }
}

/** Waits until `question` has an answer. */
export async function until(what, question, seconds = 100) {
  const end = Date.now() + seconds * 1_000;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > end) fail(`${what}: not within ${seconds} s`);
    await new Promise((resume) => { setTimeout(resume, 200); });
  }
}

/** Waits until so many deliveries to an endpoint have this status. */
export function deliveriesOf(tenant, endpoint, status, count) {
  const path = `/v1/tenants/${tenant}/endpoints/${endpoint}/deliveries?status=${status}`;
  return until(`${count} deliveries that are ${status}`, async () => {
    const { deliveries } = await operate('GET', path);
    return deliveries.length >= count && deliveries;
  });
}

/** A server for webhooks. It keeps each request as a server's log might have it. */
export class Receiver {
  constructor(answer) {
    this.received = [];
    this.server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      const { status, text = '' } = answer(request);
      this.received.push({ method: request.method, target: request.url, headers: request.headers, body });
      response.writeHead(status).end(text);
    });
  }

  async start() {
    await new Promise((ready) => { this.server.listen(0, '127.0.0.1', ready); });
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  /** Waits for a request with an event's id. */
  request(id, path = '') {
    const isIt = ({ headers, target }) => headers['webhook-id'].startsWith(`${id}:`) && target.startsWith(path);
    return until(`the webhook of ${id}`, async () => this.received.findLast(isIt));
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** Writes a request as an HTTP message. */
export const message = ({ method, target, headers, body }) =>
  [`${method} ${target} HTTP/1.1`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`), '', body].join('\n');
