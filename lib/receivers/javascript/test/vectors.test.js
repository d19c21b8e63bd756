// Runs all of docs/vectors.json.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Receiver, VerificationError } from 'signpost-receiver';
import { FILE, receiverOf, vectorOf, verify } from './vectors.js';

test('each vector is accepted, or refused at its step', async (t) => {
  assert.ok(FILE.vectors.length > 100);
  for (const vector of FILE.vectors) {
    await t.test(vector.name, async () => {
      const { accepted, event, steps } = vector.expected;
      if (accepted) {
        const { id, source, type, attempt, replay, signed } = await verify(vector);
        assert.deepEqual({ id, source, type, attempt, replay, signed: [...signed].sort() }, event);
      } else {
        await assert.rejects(verify(vector), (error) => error instanceof VerificationError && steps.includes(error.step));
      }
    });
  }
});

test('a parsed body is refused with the reason', async () => {
  const { request } = vectorOf('JWS RS256');
  const parsed = JSON.parse(Buffer.from(request.body, 'base64'));
  await assert.rejects(receiverOf(vectorOf('JWS RS256')).verify(request.headers, parsed), { step: 'body-reencoded' });
});

test('the hook marks repetitions', async () => {
  const vector = vectorOf('Standard Webhooks v1');
  const { repeated } = await verify(vector, { seen: async (id) => id === vector.expected.event.id });
  assert.equal(repeated, true);
  assert.equal((await verify(vector, { seen: () => false })).repeated, false);
});

test('only accepted formats count', async () => {
  await assert.rejects(verify(vectorOf('JWS RS256'), { formats: ['http-message-signatures'] }), { step: 'no-signature' });
});

test('settings that verify nothing are refused', () => {
  assert.throws(() => new Receiver({}), /neither/);
  assert.throws(() => new Receiver({ secrets: 'whsec_x' }), /whsec_/);
  assert.throws(() => new Receiver({ keysUrl: 'http://a.example/k' }), /https/);
  assert.throws(() => new Receiver({ keysUrl: 'a.example/k' }), /`a\.example\/k`; expected the endpoint's `jwksUrl`/);
});

const ATTACKED = ['JWS EdDSA', 'JWS, structured', 'Standard Webhooks', 'HTTP message signature EdDSA', 'all formats'];

function hostileValues(value) {
  return ['', ',', '=', '"', '((', ':', '.', '..', '\udcff', '\0é', '٣', '9'.repeat(15), '9'.repeat(400), 'e30..', 'bnVsbA..', 'W10..',
    'eyJhbGciOltdfQ..A', 'sig=();tag="signpost"', 'sig=("@method";x);tag="signpost"', value.slice(0, value.length / 2),
    `${value}, ${value}`, [...value].reverse().join(''), 'A'.repeat(5_000)];
}

test('each changed byte of a body is refused', async () => {
  for (const vector of FILE.vectors.filter(({ expected, request }) => expected.accepted && request.method !== 'GET')) {
    const { headers, body, url, method } = vector.request;
    const receiver = receiverOf(vector);
    for (let at = 0; at < Buffer.from(body, 'base64').length; at += 7) {
      const changed = Buffer.from(body, 'base64');
      changed[at] ^= 1;
      await assert.rejects(receiver.verify(headers, changed, url, method), VerificationError, `${vector.name}, ${at}`);
    }
  }
});

test('hostile requests are accepted or refused, and throw nothing else', async () => {
  let count = 0;
  for (const vector of FILE.vectors.filter(({ name }) => ATTACKED.includes(name))) {
    const { headers, url, method } = vector.request;
    const receiver = receiverOf(vector);
    const body = Buffer.from(vector.request.body, 'base64');
    for (const [at, [name, value]] of headers.entries()) {
      for (const hostile of hostileValues(value)) {
        const changed = headers.with(at, [name, hostile]);
        for (const args of [[body, url, method], [Buffer.alloc(100_000, '['), url], [Buffer.alloc(0), `${url}?${hostile}`, 'GET']]) {
          count++;
          try {
            await receiver.verify(changed, ...args);
          } catch (error) {
            assert.ok(error instanceof VerificationError, `${vector.name}, ${name}, ${hostile.slice(0, 40)}: ${error.stack}`);
          }
        }
      }
    }
  }
  assert.ok(count > 1_000);
});
