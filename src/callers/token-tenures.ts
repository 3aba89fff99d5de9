/**
 * Which verified tokens are over before their `exp`, because the issuer withdrew their key: WebSockets outlive the verification.
 * Invariant: a token without `kid` is over with any key, because it is not known which one verified it.
 */
import type { TokenTenure } from "./token-key.ts";

export class TokenTenures {
  /** By `kid`; undefined for tokens without one. */
  readonly #tenures = new Map<string | undefined, TokenTenure>();
  #isClosed = false;

  of(kid: string | undefined): TokenTenure {
    const tenure = this.#tenures.get(kid) ?? { isOver: this.#isClosed };
    this.#tenures.set(kid, tenure);
    return tenure;
  }

  /** @param withdrawn `kid` of each key; undefined for the end of all tokens, now and from now on. */
  end(withdrawn: readonly (string | undefined)[] | undefined): void {
    this.#isClosed ||= withdrawn === undefined;
    const kids = withdrawn === undefined ? [...this.#tenures.keys()] : withdrawn;
    for (const kid of kids.length === 0 ? [] : new Set([undefined, ...kids])) {
      const tenure = this.#tenures.get(kid);
      if (tenure !== undefined) tenure.isOver = true;
      this.#tenures.delete(kid);
    }
  }
}
