/**
 * The refresh token of one credential (RFC 6749 section 6): the configured one, until the token endpoint issues another one.
 * Invariant: a rotated token is durable before the access token that came with it is used, because the endpoint accepts no other one
 * after that. It is bound to everything that it was issued for: a change of that discards it.
 */
import type { Records } from "../../stores/records.ts";
import type { StoredRefreshToken } from "../../stores/stored-refresh-token.ts";
import { TokenFailure } from "./access-token.ts";
import type { AdmitSecrets } from "./issued-secrets.ts";

export interface RefreshBinding {
  /** Names the base origins, the endpoint, the client and the configured token, without revealing it. */
  readonly id: string;
  readonly service: string;
  readonly configured: string;
  /** Whether another service has this binding now. */
  readonly isUsed: (id: string) => boolean;
  readonly admitSecrets: AdmitSecrets;
}

export class RotatingToken {
  readonly #records: Records<StoredRefreshToken>;
  readonly #binding: RefreshBinding;
  /** The newest one, which could not be stored. */
  #unstored: string | undefined;
  /** Settles when the use that was requested last is over. */
  #lastUse: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(records: Records<StoredRefreshToken>, binding: RefreshBinding) {
    this.#records = records;
    this.#binding = binding;
  }

  get current(): string {
    const { id, configured } = this.#binding;
    return this.#unstored ?? this.#records.entries.get(id)?.value.token ?? configured;
  }

  /** Runs when no other use is under way: an endpoint that rotates may revoke a token that it receives twice. @throws TokenFailure */
  useExclusively<T>(use: () => Promise<T>): Promise<T> {
    const outcome = this.#lastUse.then(() => {
      if (this.#isClosed) throw new TokenFailure("was not asked, because the gateway is ending");
      return use();
    });
    this.#lastUse = outcome.catch(() => {});
    return outcome;
  }

  /** @param issued by the endpoint; undefined if it issued none. @throws TokenFailure, or the store's failure: then it is kept in memory, and stored next time. */
  async rotate(issued: string | undefined): Promise<void> {
    const { id, service, isUsed, admitSecrets } = this.#binding;
    const token = issued ?? this.current;
    if (this.#unstored === undefined && token === this.current) return;
    admitSecrets(this, [token], [this.current]);
    this.#unstored = token;
    await this.#records.put(id, { service, token });
    this.#unstored = undefined;
    const outdated = [...this.#records.entries].filter(
      ([key, { value }]) => key !== id && value.service === service && !isUsed(key),
    );
    // The next rotation deletes what is left.
    for (const [key] of outdated) await this.#records.delete(key).catch(() => {});
  }

  /** Resolves when all uses that were requested until now are over. */
  async useOver(): Promise<void> {
    await this.#lastUse;
  }

  /** No use begins from now on. Resolves when the current one is over: its response may have the only token that the endpoint accepts. */
  close(): Promise<void> {
    this.#isClosed = true;
    return this.useOver();
  }
}
