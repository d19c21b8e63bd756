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
});
