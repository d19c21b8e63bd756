// Is compiled, and not run: the types fit a program that uses them.
import { KeysUnavailable, KeySet, Receiver, VerificationError, type Event } from 'signpost-receiver';

const receiver = new Receiver({
  keys: new KeySet('https://api.example/keys', { timeoutMs: 1_000 }),
  algorithm: 'ES256',
  formats: ['jws'],
  seen: async (id) => id === 'known',
});

export async function handle(request: Request): Promise<Event | string> {
  try {
    return await receiver.verify(request.headers, new Uint8Array(await request.arrayBuffer()), request.url, request.method);
  } catch (error) {
    if (error instanceof VerificationError || error instanceof KeysUnavailable) return error.step;
    throw error;
  }
}

// @ts-expect-error a format that does not exist
new Receiver({ keysUrl: 'https://api.example/keys', formats: ['jwt'] });
