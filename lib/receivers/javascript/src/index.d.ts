/** A signature format (`signatures` of an endpoint). */
export type Format = 'jws' | 'standard-webhooks' | 'http-message-signatures';
/** An algorithm (`jwsAlgorithm` of an endpoint). */
export type Algorithm = 'RS256' | 'ES256' | 'EdDSA';
/** Headers as Node.js, `fetch` and most frameworks have them. */
export type HeadersLike =
  | Record<string, string | string[] | undefined>
  | Iterable<[string, string]>;

/** A webhook that verifies. */
export interface Event {
  /** `webhook-id`: the same over all attempts and replays. */
  id: string | null;
  source: string | null;
  type: string | null;
  /** The number of the attempt, from 1. */
  attempt: number | null;
  /** The operator's request that caused it: `replay`, `recover`, `redrive` or `test`. */
  replay: string | null;
  /** The signed bytes: the body, or for a `GET` the query. */
  payload: Buffer;
  /** The members that the signature covers. Somebody on the way can change the others. */
  signed: Set<'id' | 'source' | 'type'>;
  /** Whether the `seen` hook knows the id: answer 2xx, and do nothing. */
  repeated: boolean;
}

export interface KeySetOptions {
  /** How long a fetch may take in total, in milliseconds; 3,000 by default. */
  timeoutMs?: number;
  /** The shortest time between two fetches; 2,000 by default. */
  cooldownMs?: number;
  /** How long after its expiry a copy serves while the server does not answer; an hour by default. */
  staleMs?: number;
  /** Milliseconds of a clock that never goes back. */
  clock?: () => number;
}

/** A public key of a key set. */
export interface Key {
  readonly kid: string;
  readonly algorithm: Algorithm;
  readonly endpoint: string | null;
  readonly signatureBytes: number;
  verifies(message: Uint8Array, signature: Uint8Array): boolean;
}

/** The keys below a URL. All requests share one copy, and one fetch at a time. */
export class KeySet {
  constructor(url: string, options?: KeySetOptions);
  /** Returns the keys, fetched if the copy has expired. Throws `KeysUnavailable`. */
  keys(): Promise<Key[]>;
  /** Returns the keys, newer than `known` if the last fetch is long enough ago. */
  keysAfter(known: Key[]): Promise<Key[]>;
}

/** Keys that never change, for tests. */
export class FixedKeys {
  constructor(keySet: object);
  keys(): Promise<Key[]>;
  keysAfter(known: Key[]): Promise<Key[]>;
}

export interface ReceiverOptions {
  /** The endpoint's `jwksUrl`, for JWS, HTTP message signatures, and with `endpoint` for `v1a`. */
  keysUrl?: string;
  /** Keys instead of `keysUrl`. */
  keys?: KeySet | FixedKeys;
  /** The endpoint's `signingSecret` (`whsec_…`), or several, for `v1`. */
  secrets?: string | string[];
  /** The endpoint's id, `ep_…`. */
  endpoint?: string;
  /** The endpoint's `url`, for HTTP message signatures and for `GET`. */
  url?: string;
  /** The endpoint's `jwsAlgorithm`; without it, that of the key. */
  algorithm?: Algorithm;
  /** The formats that you accept; without it, all that your settings can verify. */
  formats?: Format[];
  /** Says whether you have handled the event of an id already. */
  seen?: (id: string) => boolean | Promise<boolean>;
  /** How far the moment of signing may be from the clock, in seconds; 300 by default. */
  toleranceSeconds?: number;
  /** Milliseconds since the Unix epoch. */
  clock?: () => number;
}

/** Verifies the webhooks of one endpoint. Make one for the life of the program: it keeps the keys. */
export class Receiver {
  constructor(options: ReceiverOptions);
  /**
   * Verifies a request, and returns its event. `body` is the bytes as they arrived. `url` is the URL that was called, and only
   * needed for `GET`, or if the receiver has no `url`. Throws `VerificationError` or `KeysUnavailable`.
   */
  verify(headers: HeadersLike, body: Uint8Array, url?: string, method?: string): Promise<Event>;
}

/** A request that does not verify. Answer 401. */
export class VerificationError extends Error {
  /** The step that failed, by the names of `signpost verify`. */
  readonly step: string;
  /** The fact: found, and expected. */
  readonly found: string;
  /** The advice. */
  readonly next: string;
}

/** The key set could not be fetched, so nothing is known about the request. Answer 503: Signpost sends it again. */
export class KeysUnavailable extends Error {
  readonly step: 'keys-unavailable';
}
