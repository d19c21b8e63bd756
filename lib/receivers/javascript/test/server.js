import { createServer } from 'node:http';

import { FILE } from './vectors.js';

/** Starts a key server. `keys`, `headers`, `status` and `answer` are its next answers. */
export async function serve(t) {
  const state = { keys: FILE.keySets.acme, headers: { 'cache-control': 'public, max-age=60' }, status: 200, requests: [] };
  const server = createServer(async (request, response) => {
    state.requests.push(request.headers);
    state.arrived?.();
    await state.gate;
    if (state.drip) { // A byte at a time keeps the time-out of a socket from ending the read.
      const timer = setInterval(() => response.write(' '), 20);
      response.on('close', () => clearInterval(timer));
      return;
    }
    const isSame = state.headers.etag && request.headers['if-none-match'] === state.headers.etag;
    response.writeHead(isSame ? 304 : state.status, state.headers);
    response.end(isSame ? undefined : JSON.stringify(state.keys));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  state.close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  t.after(state.close);
  state.url = `http://127.0.0.1:${server.address().port}/tenants/acme/.well-known/jwks.json`;
  return state;
}
