// The verification of webhooks, step by step. The steps have the names of `signpost verify`.

import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

import { VerificationError } from './errors.js';
import { KeySet } from './keys.js';

const ALGORITHMS = { RS256: 'rsa-v1_5-sha256', ES256: 'ecdsa-p256-sha256', EdDSA: 'ed25519' };
const FORMATS = ['jws', 'standard-webhooks', 'http-message-signatures'];
const KID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const REQUIRED = ['@method', '@target-uri', 'content-digest', 'webhook-id'];
const UNCHANGED = 'pass the header on unchanged';
const REFUSE = 'refuse the request: Signpost never signs like that';
const ALL_HEADERS = 'pass all headers to `verify`; look for a proxy that removes them';
const RAW = 'verify before another program reads the body; read the raw bytes once, and keep them';
const BEFORE_PARSER =
  "verify the bytes as they arrived, before any JSON parser (in Express: `express.raw({ type: () => true })` on this route; " +
  "in Fastify: `addContentTypeParser('*', { parseAs: 'buffer' }, …)` in the scope of this route)";

export class Receiver {
  #keys;
  #secrets;
  #options;

  constructor(options) {
    const { keysUrl, keys, secrets = [], algorithm, formats = FORMATS } = options;
    this.#keys = keys ?? (keysUrl === undefined ? null : new KeySet(keysUrl));
    this.#secrets = [secrets].flat().map(secretOf);
    this.#options = { toleranceSeconds: 300, clock: Date.now, ...options, formats };
    if (!this.#keys && this.#secrets.length === 0) {
      throw new TypeError('there is neither `keysUrl` nor `secrets`; expected one of them');
    }
    if (algorithm !== undefined && !Object.hasOwn(ALGORITHMS, algorithm)) {
      throw new TypeError(`\`algorithm\` is \`${algorithm}\`; expected ${Object.keys(ALGORITHMS).join(', ')}`);
    }
    if (formats.length === 0 || formats.some((name) => !FORMATS.includes(name))) {
      throw new TypeError(`\`formats\` is \`${formats}\`; expected some of ${FORMATS.join(', ')}`);
    }
  }

  async verify(headers, body, url, method = 'POST') {
    if (!(body instanceof Uint8Array)) {
      const found = `the body is of type ${typeof body}; expected the bytes that arrived, as a Buffer`;
      throw new VerificationError('body-reencoded', found, BEFORE_PARSER);
    }
    const request = new Request(lower(headers), Buffer.from(body), method.toUpperCase(), this.#options.url, url);
    const has = (name) => request.headers.has(name);
    const isPresent = {
      jws: has('jws-signature'),
      'standard-webhooks': has('webhook-signature'),
      'http-message-signatures': has('signature') || has('signature-input'),
    };
    const present = FORMATS.filter((name) => isPresent[name]);
    const wanted = present.filter((name) => this.#options.formats.includes(name) && this.#canVerify(name));
    if (wanted.length === 0) throw this.#noSignature(request, present);
    const signed = new Set();
    for (const name of wanted) {
      const check = { jws: () => this.#jws(request), 'standard-webhooks': () => this.#standardWebhooks(request) }[name];
      for (const member of await (check ? check() : this.#http(request))) signed.add(member);
    }
    return this.#event(request, signed);
  }

  #canVerify(name) {
    if (name !== 'standard-webhooks') return this.#keys !== null;
    return this.#secrets.length > 0 || (this.#keys !== null && this.#options.endpoint !== undefined);
  }

  #noSignature(request, present) {
    if (present.includes('standard-webhooks') && this.#options.formats.includes('standard-webhooks')) {
      const found = "there is neither a secret for `v1` nor the endpoint's id for `v1a`";
      return new VerificationError('secret', found, "add `secrets` or `endpoint` to the receiver's settings");
    }
    if (present.length > 0) {
      const found = `the request has ${present.join(', ')}, which this receiver does not verify`;
      return new VerificationError('no-signature', found, "compare `formats`, and the endpoint's `signatures`");
    }
    const names = [...request.headers.keys()].join(', ');
    const found = `there is no \`jws-signature\`, \`webhook-signature\` or \`signature\`; the headers are ${names}`;
    return new VerificationError('no-signature', found, ALL_HEADERS);
  }

  async #event(request, signed) {
    const header = (name) => request.headers.get(name) ?? null;
    let [source, type] = [header('ce-source'), header('ce-type')].map(decoded);
    if ((header('content-type') ?? '').split(';')[0].trim().toLowerCase() === 'application/cloudevents+json') {
      const whole = json(request.body);
      if (typeof whole?.source === 'string' && typeof whole?.type === 'string') {
        ({ source, type } = whole);
        signed.add('source').add('type');
      }
    }
    const id = header('webhook-id');
    const attempt = /^\d{1,9}$/.test(header('signpost-attempt') ?? '') ? Number(header('signpost-attempt')) : null;
    const repeated = id !== null && this.#options.seen !== undefined && Boolean(await this.#options.seen(id));
    return { id, source, type, attempt, replay: header('signpost-replay'), payload: request.payload, signed, repeated };
  }

  // JWS (RFC 7515, appendix F).

  async #jws(request) {
    const parts = request.headers.get('jws-signature').split('.');
    if (parts.length !== 3) {
      const found = `\`jws-signature\` has ${parts.length} parts; expected \`<header>..<signature>\``;
      throw new VerificationError('malformed', found, UNCHANGED);
    }
    const [encoded, middle, text] = parts;
    if (middle !== '') {
      const found = 'the payload is inside `jws-signature`; expected nothing between the two dots';
      throw new VerificationError('not-detached', found, 'take the header as it arrived');
    }
    const header = json(base64url(encoded) ?? Buffer.alloc(0));
    if (typeof header !== 'object' || header === null || Array.isArray(header) || 'crit' in header) {
      const found = 'the first part of `jws-signature` is not base64url of JSON';
      throw new VerificationError('malformed', found, UNCHANGED);
    }
    if (typeof header.alg !== 'string' || !Object.hasOwn(ALGORITHMS, header.alg)) {
      throw new VerificationError('algorithm', `\`alg\` is \`${header.alg}\`; expected RS256, ES256 or EdDSA`, REFUSE);
    }
    const signature = base64url(text);
    if (!signature) {
      throw new VerificationError('signature-malformed', 'the signature is not base64url without padding', UNCHANGED);
    }
    const key = await this.#key(header.kid, header.alg);
    checkLength(signature, key);
    if (!key.verifies(Buffer.from(`${encoded}.${request.payload.toString('base64url')}`), signature)) {
      throw mismatch(request, 'the header of the signature and the payload');
    }
    return [];
  }

  // Standard Webhooks 1.0.0.

  async #standardWebhooks(request) {
    const [id, timestamp] = ['webhook-id', 'webhook-timestamp'].map((name) => needed(request, name));
    if (!/^\d{1,15}$/.test(timestamp)) {
      const found = `\`webhook-timestamp\` is \`${timestamp}\`; expected seconds since the Unix epoch`;
      throw new VerificationError('timestamp', found, UNCHANGED);
    }
    const entries = request.headers.get('webhook-signature').split(' ').filter(Boolean).map((entry) => {
      const comma = entry.indexOf(',');
      const signature = comma < 0 ? null : base64(entry.slice(comma + 1));
      if (!signature) {
        const found = `an entry of \`webhook-signature\` is \`${entry.slice(0, 30)}\`; expected \`v1,<base64>\` or \`v1a,<base64>\``;
        throw new VerificationError('signature-malformed', found, UNCHANGED);
      }
      return { version: entry.slice(0, comma), signature };
    });
    const content = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), request.payload]);
    const macs = this.#secrets.map((secret) => createHmac('sha256', secret).update(content).digest());
    const fits = (mac, { version, signature }) =>
      version === 'v1' && signature.length === mac.length && timingSafeEqual(mac, signature);
    if (!macs.some((mac) => entries.some((entry) => fits(mac, entry)))) {
      const byKey = await this.#fitsV1a(entries, content);
      if (byKey && macs.length > 0) {
        const found = '`v1a` is valid, and no `v1` fits the secret: it is of another endpoint, or was replaced';
        throw new VerificationError('secret', found, "enter the endpoint's present `signingSecret` (`whsec_…`)");
      }
      if (!byKey) {
        throw mismatch(request, "`webhook-id`, `webhook-timestamp` and the payload, under the endpoint's own keys");
      }
    }
    this.#checkAge(Number(timestamp), 'webhook-timestamp');
    return ['id'];
  }

  async #fitsV1a(entries, content) {
    const { endpoint } = this.#options;
    const signatures = entries.filter(({ version }) => version === 'v1a').map(({ signature }) => signature);
    if (!this.#keys || endpoint === undefined || signatures.length === 0) return false;
    const fits = (keys) =>
      keys.some((key) =>
        key.endpoint === endpoint && key.algorithm === 'EdDSA' && signatures.some((one) => key.verifies(content, one)));
    const keys = await this.#keys.keys();
    return fits(keys) || fits(await this.#keys.keysAfter(keys));
  }

  // HTTP message signatures (RFC 9421), with `content-digest` (RFC 9530).

  async #http(request) {
    const [text, signatures] = ['signature-input', 'signature'].map((name) => needed(request, name));
    const signed = members(text).map(inputOf).find((one) => one?.parameters.get('tag') === 'signpost');
    if (!signed) {
      const found = `no signature has the tag \`signpost\`; \`signature-input\` is \`${text}\``;
      throw new VerificationError('tag', found, 'use the signature whose `tag` is `signpost`');
    }
    const { components, parameters } = signed;
    const missing = REQUIRED.find((name) => !components.includes(name));
    if (missing) {
      const found = `the signature does not cover \`${missing}\`; it covers ${components.join(', ')}`;
      throw new VerificationError('component-missing', found, 'refuse the request: Signpost always covers it');
    }
    const member = new Map(members(signatures)).get(signed.label);
    if (member === undefined) {
      const found = `\`signature\` has no member \`${signed.label}\`, which \`signature-input\` has`;
      throw new VerificationError('malformed', found, UNCHANGED);
    }
    const signature = /^:[^:]*:$/.test(member) ? base64(member.slice(1, -1)) : null;
    if (!signature) {
      throw new VerificationError('signature-malformed', 'the signature is not base64 between two colons', UNCHANGED);
    }
    const algorithm = Object.keys(ALGORITHMS).find((name) => ALGORITHMS[name] === parameters.get('alg'));
    if (!algorithm) {
      const found = `\`alg\` is \`${parameters.get('alg')}\`; expected ${Object.values(ALGORITHMS).join(', ')}`;
      throw new VerificationError('algorithm', found, REFUSE);
    }
    const absent = components.find((name) => !name.startsWith('@') && !request.headers.has(name));
    if (absent) throw new VerificationError('header-missing', `\`${absent}\` is missing; the signature covers it`, ALL_HEADERS);
    const [url, ...others] = request.urls();
    if (!url) {
      const found = 'the URL is not known, and the signature covers it';
      throw new VerificationError('url', found, "add `url` to the receiver, from the endpoint's settings");
    }
    const key = await this.#key(parameters.get('keyid'), algorithm);
    checkLength(signature, key);
    if (!key.verifies(baseOf(signed, request, url), signature)) {
      const other = others.find((one) => key.verifies(baseOf(signed, request, one), signature));
      if (other) {
        const found = `the signature is for \`${other}\`, and the URL here is \`${url}\``;
        throw new VerificationError('url', found, "build the URL from the endpoint's settings, not from what arrives behind a proxy");
      }
      const found = `the signature does not fit; it covers ${components.join(', ')}, for the URL \`${url}\``;
      throw new VerificationError('signature', found, "compare each with what arrived, and the URL with the endpoint's");
    }
    const digest = createHash('sha256').update(request.body).digest('base64');
    if (request.headers.get('content-digest') !== `sha-256=:${digest}:`) {
      const error = mismatch(request, 'the digest of the body');
      if (error.step !== 'signature') throw error;
      const found = `the body of ${request.body.length} bytes does not have the signed digest`;
      throw new VerificationError('digest', found, BEFORE_PARSER);
    }
    const created = parameters.get('created') ?? '';
    if (!/^\d{1,15}$/.test(created)) {
      const found = '`created` is missing or not a number';
      throw new VerificationError('timestamp', found, 'refuse the request: Signpost always sends it');
    }
    this.#checkAge(Number(created), 'created');
    const names = { 'webhook-id': 'id', 'ce-source': 'source', 'ce-type': 'type' };
    return components.filter((name) => Object.hasOwn(names, name)).map((name) => names[name]);
  }

  async #key(kid, algorithm) {
    if (typeof kid !== 'string' || !KID.test(kid)) {
      const found = `the \`kid\` is \`${String(kid).slice(0, 60)}\`; expected a UUID`;
      throw new VerificationError('kid-malformed', found, 'refuse the request, and put nothing but a UUID into a URL');
    }
    const find = (keys) => keys.find((key) => key.kid === kid && key.endpoint === null);
    const keys = await this.#keys.keys();
    const key = find(keys) ?? find(await this.#keys.keysAfter(keys));
    if (!key) {
      const next = 'refuse the request: the key has retired, or the request is for another tenant; compare the key URL';
      throw new VerificationError('kid-unknown', `no key of the set has the \`kid\` \`${kid}\``, next);
    }
    const expected = this.#options.algorithm ?? key.algorithm;
    if (algorithm !== key.algorithm || algorithm !== expected) {
      const found = `the signature names ${algorithm}, and the key is for ${key.algorithm}; expected ${expected}`;
      throw new VerificationError('algorithm', found, "refuse the request; accept the endpoint's `jwsAlgorithm` only");
    }
    return key;
  }

  #checkAge(signedAt, name) {
    const { toleranceSeconds: tolerance, clock } = this.#options;
    const now = Math.floor(clock() / 1_000);
    if (signedAt + tolerance < now) {
      const found = `the signature is valid, and \`${name}\` is ${now - signedAt} s ago; expected at most ${tolerance} s`;
      throw new VerificationError('too-old', found, 'compare your clock, and look for a queue in front of the receiver');
    }
    if (signedAt > now + tolerance) {
      const found = `\`${name}\` is ${signedAt - now} s ahead of the clock; expected at most ${tolerance} s`;
      throw new VerificationError('from-the-future', found, 'set the clock of the receiver by NTP');
    }
  }
}

class Request {
  #ownUrl;
  #called;

  constructor(headers, body, method, ownUrl, called) {
    Object.assign(this, { headers, body, method });
    this.#ownUrl = ownUrl;
    this.#called = called;
    this.payload = method === 'GET' ? this.#queryOfGet() : body;
  }

  /** Returns the query without that of the endpoint's own URL, which Signpost does not sign. */
  #queryOfGet() {
    if (this.#called === undefined) {
      const found = 'the method is GET, and `verify` got no `url`; expected the URL with its query as it arrived';
      throw new VerificationError('url', found, 'pass the URL that was called to `verify`');
    }
    const query = queryOf(this.#called);
    const own = queryOf(this.#ownUrl ?? '');
    const isOwn = own !== '' && (query === own || query.startsWith(`${own}&`));
    return Buffer.from(isOwn ? query.slice(own.length + 1) : query);
  }

  /** Lists URLs that the sender may have called: first the one that counts, then those that explain a mistake. */
  urls() {
    let own = this.#ownUrl;
    if (own && this.method === 'GET') own = `${own.split('?')[0]}?${queryOf(this.#called ?? '')}`;
    const whole = /^https?:\/\//.test(this.#called ?? '') ? this.#called : undefined;
    const urls = [own, whole].filter(Boolean);
    const swapped = urls.map((url) => (url.startsWith('https:') ? url.replace('https:', 'http:') : url.replace('http:', 'https:')));
    return [...urls, ...swapped];
  }
}

function queryOf(url) {
  const at = url.indexOf('?');
  return at < 0 ? '' : url.slice(at + 1);
}

/** Reads a member of `signature-input`. Its text is the last line of the signature base. */
function inputOf([label, text]) {
  const found = text.match(/^\(([^)]*)\)(.*)$/s);
  if (!found) return null;
  const components = found[1].split(/\s+/).filter(Boolean).map(unquoted);
  const pairs = found[2].split(';').filter((pair) => pair.includes('='));
  const parameters = new Map(pairs.map((pair) => {
    const at = pair.indexOf('=');
    return [pair.slice(0, at).trim(), unquoted(pair.slice(at + 1))];
  }));
  return { label, text, components, parameters };
}

/** Returns the signature base (RFC 9421, section 2.5). */
function baseOf({ components, text }, request, url) {
  const special = new Map([['@method', request.method], ['@target-uri', url]]);
  const lines = components.map((name) => `"${name}": ${special.get(name) ?? request.headers.get(name) ?? ''}`);
  return Buffer.from([...lines, `"@signature-params": ${text}`].join('\n'));
}

function unquoted(text) {
  return text.replace(/^"/, '').replace(/"$/, '');
}

/** Splits a dictionary (RFC 9651, section 3.2) at the commas outside of quotes and parentheses. */
function members(text) {
  const parts = [];
  let [start, isInString, depth] = [0, false, 0];
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '"') isInString = !isInString;
    else if (text[at] === '(' && !isInString) depth++;
    else if (text[at] === ')' && !isInString) depth--;
    else if (text[at] === ',' && !isInString && depth === 0) {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  parts.push(text.slice(start));
  return parts.filter((part) => part.includes('=')).map((part) => {
    const at = part.indexOf('=');
    return [part.slice(0, at).trim(), part.slice(at + 1).trim()];
  });
}

/** Returns the headers by their names in lower case. Several lines of a field are one (RFC 9110, section 5.3). */
function lower(headers) {
  const pairs = typeof headers[Symbol.iterator] === 'function' ? headers : Object.entries(headers);
  const all = new Map();
  for (const [name, value] of pairs) {
    if (value === undefined) continue;
    for (const one of [value].flat()) {
      const key = name.toLowerCase();
      all.set(key, all.has(key) ? `${all.get(key)}, ${String(one).trim()}` : String(one).trim());
    }
  }
  return all;
}

function needed(request, name) {
  const value = request.headers.get(name);
  if (!value) throw new VerificationError('header-missing', `\`${name}\` is missing; the signature needs it`, ALL_HEADERS);
  return value;
}

/** Explains a signature that does not fit the payload. */
function mismatch(request, covers) {
  const { body, headers, method } = request;
  const length = headers.get('content-length') ?? '';
  if (method !== 'GET') {
    if (body.length === 0) {
      return new VerificationError('body-missing', 'the body is empty; expected the bytes that arrived', RAW);
    }
    const isShort = /^\d{1,9}$/.test(length) && body.length < Number(length);
    // Nothing that was cut is still valid JSON: a short body that is valid was encoded again.
    if ((isShort || /\s/.test(body.toString('latin1'))) && json(body) !== undefined) {
      const found = 'the body has whitespace, or not the length that arrived: it was parsed and encoded again';
      return new VerificationError('body-reencoded', found, BEFORE_PARSER);
    }
    if (isShort) {
      const found = `\`content-length\` is ${length}, and the body has ${body.length} bytes`;
      return new VerificationError('body-cut', found, 'read the body to its end; look for a limit on bodies');
    }
  }
  const found = `the signature does not fit; it covers ${covers}, and at least one of these changed`;
  return new VerificationError('signature', found, `compare each with what arrived; ${BEFORE_PARSER}`);
}

function checkLength(signature, key) {
  if (signature.length === key.signatureBytes) return;
  const found = `the signature has ${signature.length} bytes; expected ${key.signatureBytes}, as ${key.algorithm} has`;
  throw new VerificationError('signature-malformed', found, 'look for a program that cuts long headers');
}

function secretOf(text) {
  const secret = base64(text.replace(/^whsec_/, ''));
  if (!secret || secret.length < 24 || secret.length > 64) {
    throw new TypeError('a secret cannot be read; expected `whsec_` and base64, as the API shows `signingSecret`');
  }
  return secret;
}

function base64(text) {
  const bytes = Buffer.from(text, 'base64'); // It skips other characters, so compare.
  return bytes.toString('base64') === text ? bytes : null;
}

function base64url(text) {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : null;
}

function json(bytes) {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

/** Decodes a header of CloudEvents (HTTP binding 1.0.2, section 3.1.3.2). */
function decoded(value) {
  try {
    return value === null ? null : decodeURIComponent(value);
  } catch {
    return value;
  }
}
