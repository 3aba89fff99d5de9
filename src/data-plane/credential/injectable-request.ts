/** A request as credentials change it: what a signature covers, and where something is injected. */

/** What a signature covers. */
export interface SignableRequest {
  readonly method: string;
  readonly origin: string;
  /** Path and query. */
  path: string;
  /** Flat list of names and values. */
  readonly headers: string[];
  readonly body?: unknown;
  /** How the body is signed: by its hash, if this is left out. */
  readonly payload?: { readonly word: string | undefined } | undefined;
}

/** A request that credentials are injected into. One object serves all attempts, so that an attempt copies nothing. */
export interface InjectableRequest extends SignableRequest {
  /** Path and query, with what was injected. */
  path: string;
  /** Flat list of names and values, with what was injected. */
  readonly headers: string[];
  /** `path` before an injection. */
  readonly strippedPath: string;
  /** Length of `headers` before an injection. */
  readonly strippedLength: number;
  /** Undefined for credentials that go into headers and the query only. */
  readonly rarePlaces?: RarePlaces | undefined;
  body?: unknown;
}

/** Where a credential is injected beside headers and the query. */
export interface RarePlaces {
  /** The length of the base's prefix in `strippedPath`. */
  readonly pathAt: number;
  /** The index of the path template that the client chose by its path. */
  readonly pathTemplate: number;
  /** The client's form without the fields of the credential; undefined where no form is sent. */
  form: Buffer | undefined;
  /** The subprotocols that the client offered; undefined for a request that is no WebSocket handshake. */
  readonly subprotocols: OfferedSubprotocols | undefined;
}

/** The client's Sec-WebSocket-Protocol. */
export interface OfferedSubprotocols {
  /** Those that do not belong to the credential. */
  readonly kept: readonly string[];
  /** The position of the injected one. */
  readonly at: number;
  /** The client's own in the place of the credential, as the client wrote it. */
  readonly replaced: string | undefined;
  /** The injected one; empty before the injection. */
  injected: string;
}
