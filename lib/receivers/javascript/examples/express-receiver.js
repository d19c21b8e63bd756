// Receives webhooks with Express: `node express-receiver.js`.

import { fileURLToPath } from 'node:url';

import express from 'express';
import { KeysUnavailable, Receiver, VerificationError } from 'signpost-receiver';

export function appOf(settings) {
  const receiver = new Receiver(settings);
  const app = express();
  // The bytes as they arrived, up to 6 MiB. An `app.use(express.json())` for other routes belongs below this one.
  app.all('/in', express.raw({ type: () => true, limit: '6mb' }), async (request, response) => {
    const body = request.body ?? Buffer.alloc(0); // There is none in a GET.
    let event;
    try {
      event = await receiver.verify(request.headers, body, request.originalUrl, request.method);
    } catch (error) {
      const isRefused = error instanceof VerificationError;
      if (!isRefused && !(error instanceof KeysUnavailable)) throw error;
      console.warn(error.message);
      return response.status(isRefused ? 401 : 503).json({ refused: error.step });
    }
    if (!event.repeated) console.log(`event ${event.id} of type ${event.type}`); // Your work, in one transaction with the id.
    return response.status(204).end();
  });
  app.use(express.json());
  return app;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { JWKS_URL, ENDPOINT_URL, ENDPOINT, SECRET, PORT = '3000' } = process.env;
  const settings = { keysUrl: JWKS_URL, url: ENDPOINT_URL, endpoint: ENDPOINT, secrets: SECRET ? [SECRET] : [] };
  appOf(settings).listen(Number(PORT), '127.0.0.1');
}
