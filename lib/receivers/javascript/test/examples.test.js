// Tries the examples over HTTP: with the body as it arrived, and with a parser of JSON before them.

import assert from 'node:assert/strict';
import { createServer, request as send } from 'node:http';
import { test } from 'node:test';

import express from 'express';
import { appOf as expressApp } from '../examples/express-receiver.js';
import { appOf as fastifyApp } from '../examples/fastify-receiver.js';
import { serve } from './server.js';
import { vectorOf } from './vectors.js';

const NAMES = ['JWS RS256', 'JWS, PUT', 'JWS, GET', 'JWS, GET with a query of the endpoint', 'Standard Webhooks',
  'Standard Webhooks, GET', 'HTTP message signature ES256', 'HTTP message signature, PUT', 'HTTP message signature, GET',
  'HTTP message signature, GET with a query of the endpoint', 'all formats'];

const FRAMEWORKS = {
  express: async (t, settings, wrap = (app) => app) => listen(t, createServer(wrap(expressApp(settings)))),
  fastify: async (t, settings, wrap = (app) => app) => {
    const app = wrap(fastifyApp(settings));
    t.after(() => app.close());
    await app.ready();
    return listen(t, app.server);
  },
};

async function listen(t, server) {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.closeAllConnections());
  t.after(() => server.close());
  return server.address().port;
}

function settingsOf({ receiver, now }, keysUrl) {
  const { keySet, ...settings } = receiver;
  return { ...settings, keysUrl, clock: () => now * 1_000 };
}

/** Sends a vector's request, and returns the status and the step. */
function post(port, { request }, body = Buffer.from(request.body, 'base64')) {
  const headers = Object.fromEntries(request.headers.filter(([name]) => name !== 'host'));
  const at = request.url.indexOf('?');
  const path = `/in${at < 0 ? '' : request.url.slice(at)}`;
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(10_000);
    const sent = send({ host: '127.0.0.1', port, path, method: request.method, headers, signal }, async (answer) => {
      const text = Buffer.concat(await answer.toArray()).toString();
      resolve([answer.statusCode, text ? JSON.parse(text).refused : undefined]);
    });
    sent.on('error', reject);
    sent.end(request.method === 'GET' ? undefined : body);
  });
}

for (const [framework, start] of Object.entries(FRAMEWORKS)) {
  test(`${framework} accepts each format and method`, async (t) => {
    const keys = await serve(t);
    for (const name of NAMES) {
      const port = await start(t, settingsOf(vectorOf(name), keys.url));
      assert.deepEqual(await post(port, vectorOf(name)), [204, undefined], name);
    }
  });

  test(`${framework} refuses a changed body, and is unavailable without keys`, async (t) => {
    const keys = await serve(t);
    const vector = vectorOf('JWS RS256');
    const port = await start(t, settingsOf(vector, keys.url));
    const again = Buffer.from(JSON.stringify(JSON.parse(Buffer.from(vector.request.body, 'base64')), null, 1));
    assert.deepEqual(await post(port, vector, again), [401, 'body-reencoded']);
    await keys.close();
    const other = await start(t, settingsOf(vector, keys.url));
    assert.deepEqual(await post(other, vector), [503, 'keys-unavailable']);
  });
}

test('express.json() before the receiver is refused with the reason', async (t) => {
  const keys = await serve(t);
  const vector = vectorOf('JWS RS256');
  const wrap = (app) => express().use(express.json()).use(app);
  const warned = t.mock.method(console, 'warn', () => {});
  const port = await FRAMEWORKS.express(t, settingsOf(vector, keys.url), wrap);
  assert.deepEqual(await post(port, vector), [401, 'body-reencoded']);
  assert.match(warned.mock.calls[0].arguments[0], /before any JSON parser \(in Express: `express\.raw/);
});

test('a hook of fastify that parses the body before the receiver is refused with the reason', async (t) => {
  const keys = await serve(t);
  const vector = vectorOf('JWS RS256');
  const wrap = (app) => app.addHook('preHandler', async (request) => { request.body = JSON.parse(request.body); });
  const warned = t.mock.method(console, 'warn', () => {});
  const port = await FRAMEWORKS.fastify(t, settingsOf(vector, keys.url), wrap);
  assert.deepEqual(await post(port, vector), [401, 'body-reencoded']);
  assert.match(warned.mock.calls[0].arguments[0], /in Fastify: `addContentTypeParser/);
});

test('a hook of fastify that reads the body before the receiver is refused with the reason', async (t) => {
  const keys = await serve(t);
  const vector = vectorOf('JWS RS256');
  const wrap = (app) => app.addHook('preHandler', async (request) => { request.body = undefined; });
  t.mock.method(console, 'warn', () => {});
  const port = await FRAMEWORKS.fastify(t, settingsOf(vector, keys.url), wrap);
  assert.deepEqual(await post(port, vector), [401, 'body-missing']);
});
