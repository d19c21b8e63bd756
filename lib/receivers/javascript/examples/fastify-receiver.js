// Receives webhooks with Fastify: `node fastify-receiver.js`.

import { fileURLToPath } from 'node:url';

import fastify from 'fastify';
import { KeysUnavailable, Receiver, VerificationError } from 'signpost-receiver';

export function appOf(settings) {
  const receiver = new Receiver(settings);
  const app = fastify({ bodyLimit: 6 << 20 });
  app.register(async (webhooks) => {
    // The bytes as they arrived, in this scope only: other routes keep Fastify's JSON parser.
    webhooks.removeAllContentTypeParsers();
    webhooks.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    webhooks.route({
      method: ['GET', 'POST', 'PUT'],
      url: '/in',
      handler: async (request, reply) => {
        const body = request.body ?? Buffer.alloc(0); // There is none in a GET.
        let event;
        try {
          event = await receiver.verify(request.headers, body, request.raw.url, request.method);
        } catch (error) {
          const isRefused = error instanceof VerificationError;
          if (!isRefused && !(error instanceof KeysUnavailable)) throw error;
          console.warn(error.message);
          return reply.code(isRefused ? 401 : 503).send({ refused: error.step });
        }
        if (!event.repeated) console.log(`event ${event.id} of type ${event.type}`); // Your work, in one transaction with the id.
        return reply.code(204).send();
      },
    });
  });
  return app;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { JWKS_URL, ENDPOINT_URL, ENDPOINT, SECRET, PORT = '3000' } = process.env;
  const settings = { keysUrl: JWKS_URL, url: ENDPOINT_URL, endpoint: ENDPOINT, secrets: SECRET ? [SECRET] : [] };
  await appOf(settings).listen({ port: Number(PORT) });
}
