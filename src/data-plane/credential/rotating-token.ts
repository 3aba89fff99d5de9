/**
 * The refresh token of one credential (RFC 6749 section 6): the configured one, until the token endpoint issues another one.
 * Invariant: a rotated token is durable before the access token that came with it is used, because the endpoint accepts no other one
 * after that. It is bound to everything that it was issued for: a change of that discards it.
 */
import type { Records } from "../../stores/records.ts";
import type { StoredRefreshToken } from "../../stores/stored-refresh-token.ts";

export interface RefreshBinding {
  /** Names the base origins, the endpoint, the client and the configured token, without revealing it. */
  readonly id: string;
  readonly service: string;
  readonly configured: string;
  /** Whether another service has this binding now. */
  readonly isUsed: (id: string) => boolean;
}

export class RotatingToken {
  readonly #records: Records<StoredRefreshToken>;
  readonly #binding: RefreshBinding;
  /** The newest one, which could not be stored. */
  #unstored: string | undefined;

  constructor(records: Records<StoredRefreshToken>, binding: RefreshBinding) {
    this.#records = records;
    this.#binding = binding;
  }

  get current(): string {
    const { id, configured } = this.#binding;
    return this.#unstored ?? this.#records.entries.get(id)?.value.token ?? configured;
  }

  /** @throws the store's failure: then the token is kept in memory, and stored with the next one. */
  async rotate(token: string): Promise<void> {
    const { id, service, isUsed } = this.#binding;
    this.#unstored = token;
    await this.#records.put(id, { service, token });
    this.#unstored = undefined;
    const outdated = [...this.#records.entries].filter(
      ([key, { value }]) => key !== id && value.service === service && !isUsed(key),
    );
    for (const [key] of outdated) await this.#records.delete(key);
  }
}
