/**
 * What a fetch from an endpoint that issues tokens gives: a token, or a failure.
 * Invariant: the message of a failure may be shown to callers; it contains nothing of a response but its status and its error code.
 */

export interface AccessToken {
  readonly text: string;
  /** Seconds from the request on; undefined where it is not known. */
  readonly expiresIn: number | undefined;
  readonly scope: string | undefined;
  /** The refresh token that came with it, for masks. */
  readonly refreshToken: string | undefined;
}

export class TokenFailure extends Error {
  /** The endpoint wants no request for this time, ms. */
  readonly retryAfterMs: number | undefined;
  /** For the log only. */
  readonly detail: string | undefined;

  /** The error code of a refusal (RFC 6749 section 5.2). */
  readonly code: string | undefined;

  /** @param message completes "the token endpoint …", and may be shown to callers. */
  constructor(
    message: string,
    more: {
      readonly retryAfterMs?: number | undefined;
      readonly detail?: string;
      readonly code?: string | undefined;
    } = {},
  ) {
    super(message);
    this.code = more.code;
    this.retryAfterMs = more.retryAfterMs;
    this.detail = more.detail;
  }
}

/** A longer one is no header that servers accept. */
const TOKEN_LENGTH_LIMIT = 16_384;
/** Of a token that claims to live longer. */
const LONGEST_LIFE_SECONDS = 365 * 86_400;

/** A token that a header can carry and that has not expired. @throws TokenFailure */
export function checkAccessToken(token: AccessToken): AccessToken {
  const { text, expiresIn } = token;
  // RFC 6750 section 2.1, and what servers accept beyond it. A space or a control character would end the token.
  if (!/^[\x21-\x7e]+$/.test(text)) throw new TokenFailure("issued a token with characters that a header cannot carry");
  if (text.length > TOKEN_LENGTH_LIMIT) throw new TokenFailure("issued a token that is too long for a header");
  if (expiresIn === undefined) return token;
  if (!(expiresIn > 0)) throw new TokenFailure("issued a token that has already expired");
  return { ...token, expiresIn: Math.min(expiresIn, LONGEST_LIFE_SECONDS) };
}
