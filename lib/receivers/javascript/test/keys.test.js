// Tries the key cache against a real HTTP server.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { KeySet, KeysUnavailable } from 'signpost-receiver';
import { serve } from './server.js';
import { FILE, vectorOf, verify } from './vectors.js';

async function set(t, options = {}) {
  const server = await serve(t);
  const time = { ms: 1_000_000 };
  return { server, time, keys: new KeySet(server.url, { clock: () => time.ms, ...options }) };
}

const check = (keys, name = 'JWS RS256') => verify(vectorOf(name), { keys });

test('keys are kept for max-age', async (t) => {
  const { server, time, keys } = await set(t);
  for (let n = 0; n < 3; n++) await check(keys);
  time.ms += 59_000;
  await check(keys);
  assert.equal(server.requests.length, 1);
  time.ms += 2_000;
  await check(keys);
  assert.equal(server.requests.length, 2);
});

test('an expired copy is compared by its etag', async (t) => {
  const { server, time, keys } = await set(t);
  server.headers.etag = '"1"';
  await check(keys);
  time.ms += 61_000;
  await check(keys);
  assert.equal(server.requests[1]['if-none-match'], '"1"');
  time.ms += 59_000;
  await check(keys);
  assert.equal(server.requests.length, 2);
});

test('an unknown kid fetches again once, and not more often than the cooldown', async (t) => {
  const { server, time, keys } = await set(t);
  server.keys = { keys: [] };
  for (let n = 0; n < 5; n++) await assert.rejects(check(keys), { step: 'kid-unknown' });
  assert.equal(server.requests.length, 1);
  server.keys = FILE.keySets.acme;
  time.ms += 2_000;
  await check(keys);
  assert.equal(server.requests.length, 2);
});

test('a new key of v1a is found in the same way', async (t) => {
  const { server, time, keys } = await set(t);
  server.keys = { keys: [] };
  await assert.rejects(check(keys, 'Standard Webhooks v1a'), { step: 'signature' });
  server.keys = FILE.keySets.acme;
  time.ms += 2_000;
  await check(keys, 'Standard Webhooks v1a');
});

test('requests at the same time share one fetch', async (t) => {
  const { server, keys } = await set(t, { timeoutMs: 10_000 });
  let open;
  server.gate = new Promise((resolve) => { open = resolve; });
  const arrived = new Promise((resolve) => { server.arrived = resolve; });
  const all = Array.from({ length: 16 }, () => check(keys));
  await arrived;
  open();
  await Promise.all(all);
  assert.equal(server.requests.length, 1);
});

test('a server that is down makes the keys unavailable, and is not flooded', async (t) => {
  const { server, keys } = await set(t);
  server.status = 500;
  for (let n = 0; n < 5; n++) await assert.rejects(check(keys), KeysUnavailable);
  assert.equal(server.requests.length, 1);
});

test('a known copy serves for an hour while the server is down', async (t) => {
  const { server, time, keys } = await set(t);
  await check(keys);
  server.status = 503;
  time.ms += 61_000;
  await check(keys);
  assert.equal(server.requests.length, 2);
  time.ms += 3_600_000;
  await assert.rejects(check(keys), KeysUnavailable);
});

test('a refused connection makes the keys unavailable', async (t) => {
  const { server, keys } = await set(t);
  await server.close();
  await assert.rejects(check(keys), { step: 'keys-unavailable' });
});

for (const kind of ['silent', 'dripping']) {
  test(`a ${kind} server takes no longer than the time-out`, async (t) => {
    const { server, keys } = await set(t, { timeoutMs: 300 });
    if (kind === 'silent') server.gate = new Promise(() => {});
    else server.drip = true;
    const begin = performance.now();
    await assert.rejects(check(keys), KeysUnavailable);
    assert.ok(performance.now() - begin < 3_000);
  });
}

test('redirects and other answers are not keys', async (t) => {
  const { server } = await set(t);
  const cases = [[404, FILE.keySets.acme], [200, []], [200, { keys: 'none' }], [200, 'text']];
  for (const [status, keys] of cases) {
    Object.assign(server, { status, keys });
    await assert.rejects(check(new KeySet(server.url)), KeysUnavailable);
  }
  Object.assign(server, { status: 302, headers: { location: '/other' } });
  await assert.rejects(check(new KeySet(server.url)), KeysUnavailable);
});
