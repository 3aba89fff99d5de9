/**
 * The refresh token of one credential (RFC 6749 section 6): the configured one, or that of a login, until the token endpoint issues
 * another one. Invariant: a rotated token is durable before the access token that came with it is used, because the endpoint accepts no
 * other one after that. It is bound to everything that it was issued for: a change of that discards it.
 */
import type { Records } from "../../stores/records.ts";
import type { StoredLogin, StoredRefreshToken } from "../../stores/stored-refresh-token.ts";
import { TokenFailure } from "./access-token.ts";
import type { AdmitSecrets } from "./issued-secrets.ts";

export interface RefreshBinding {
  /** Names the base origins, the endpoint, the client and the configured token, without revealing it. */
  readonly id: string;
  readonly service: string;
  /** Undefined for a token that comes from a login. */
  readonly configured: string | undefined;
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

  /** Undefined while no login has taken place. */
  get current(): string | undefined {
    return this.#unstored ?? this.#stored?.token ?? this.#binding.configured;
  }

  get login(): StoredLogin | undefined {
    return this.#stored?.login;
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

  /** @param issued by the endpoint. @throws TokenFailure, also where it cannot be stored: then it is kept in memory. */
  async rotate(issued: string): Promise<void> {
    if (issued === this.current) return;
    this.#binding.admitSecrets(this, [issued], [this.current ?? ""]);
    this.#unstored = issued;
    await this.persist();
  }

  /** Stores what could not be stored. @throws TokenFailure */
  async persist(): Promise<void> {
    if (this.#unstored === undefined) return;
    try {
      await this.#store(this.#unstored, this.login);
    } catch (error) {
      const { message: detail } = error as Error;
      throw new TokenFailure("issued another refresh token, which could not be stored", { detail });
    }
  }

  /**
   * The token of a login instead of the one before; undefined removes it. A response to the one before cannot replace it.
   * @throws the store's failure: then nothing changed; or TokenFailure at the end of the gateway.
   */
  replace(next: { readonly token: string; readonly login: StoredLogin } | undefined): Promise<void> {
    return this.useExclusively(async () => {
      if (next !== undefined) {
        this.#binding.admitSecrets(this, [next.token], [this.current ?? ""]);
        return this.#store(next.token, next.login);
      }
      await this.#records.delete(this.#binding.id);
      this.#unstored = undefined;
    });
  }

  get #stored(): StoredRefreshToken | undefined {
    return this.#records.entries.get(this.#binding.id)?.value;
  }

  async #store(token: string, login: StoredLogin | undefined): Promise<void> {
    const { id, service, isUsed } = this.#binding;
    await this.#records.put(id, { service, token, ...(login === undefined ? {} : { login }) });
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
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.useOver();
    await this.persist().catch(() => {});
  }
}
