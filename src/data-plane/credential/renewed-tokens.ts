/**
 * The access tokens of all services. Services with the same client and the same request share a token.
 * Invariant: a token that no service uses any more is forgotten; one that a reload keeps stays as it is.
 */
import type { Records } from "../../stores/records.ts";
import type { StoredLogin, StoredRefreshToken } from "../../stores/stored-refresh-token.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { AccessToken, TokenFailure } from "./access-token.ts";
import { createAdmitSecrets, type IssuedSecretsContext, maskFailure } from "./issued-secrets.ts";
import { RenewedToken } from "./renewed-token.ts";
import type { RotatingToken } from "./rotating-token.ts";
import { createRotatingTokens, type DefinedBinding } from "./rotating-tokens.ts";

/** How the tokens of one service are obtained. Each type of credential makes its own. */
export interface TokenOrder {
  /** For the log. */
  readonly serviceKey: string;
  /** Names the account of the upstream. Another token or another secret of the same client is still the same account. */
  readonly account: string;
  /** Everything on which a token depends, secrets included. Services with an equal one share a token. */
  readonly shareKey: string;
  /** Of the grant `refresh_token`: what the refresh token is bound to. Services with another binding share nothing. */
  readonly binding?: DefinedBinding | undefined;
  /** @param rotating defined where `binding` is. @throws TokenFailure */
  readonly fetchToken: (signal: AbortSignal, rotating: RotatingToken | undefined) => Promise<AccessToken>;
}

/** A token that a service uses. */
export interface AcquiredToken {
  readonly token: RenewedToken;
  /** Defined for the grant `refresh_token`. */
  readonly rotating: RotatingToken | undefined;
  /**
   * Replaces the token of a login by that of another one, for all services with the same binding; undefined removes it. Another access
   * token is fetched in the background. @throws as `RotatingToken.replace` does.
   */
  replaceLogin(next: { readonly token: string; readonly login: StoredLogin } | undefined): Promise<void>;
  /** To be called once. */
  release(): void;
}

export interface RenewedTokens {
  acquire(order: TokenOrder): AcquiredToken;
  /** After a reload: failing endpoints may be asked again at once. */
  retryFailed(): void;
  /** Ends every fetch, now and from now on; one that may give another refresh token has some time. */
  close(): Promise<void>;
}

export interface RenewedTokensOptions extends IssuedSecretsContext {
  readonly logger: Pick<Logger, "warn" | "info">;
  /** Refresh tokens that outlive the process. */
  readonly refreshTokens: Records<StoredRefreshToken>;
  /** Monotonic clock, ms. */
  readonly now?: () => number;
}

export function createRenewedTokens(options: RenewedTokensOptions): RenewedTokens {
  const { logger, refreshTokens, mask, now = () => performance.now() } = options;
  const admitSecrets = createAdmitSecrets(options);
  const shared = new Map<string, Shared>();
  let isClosed = false;
  /** Of no service any more, with a fetch that may give another refresh token. */
  const ending = new Set<RenewedToken>();
  const isUsed = (id: string) => withBinding(shared, id).length > 0;
  const rotatingTokens = createRotatingTokens(refreshTokens, isUsed, admitSecrets);

  function open({ serviceKey: service, ...order }: TokenOrder, rotating: RotatingToken | undefined): RenewedToken {
    const fetchToken = async (signal: AbortSignal): Promise<AccessToken> => {
      try {
        const issued = await (rotating === undefined
          ? order.fetchToken(signal, undefined)
          : rotating.useExclusively(() => order.fetchToken(signal, rotating)));
        admitSecrets(token, [issued.text, ...(issued.refreshToken ? [issued.refreshToken] : [])], token.recent);
        return { ...issued, scope: issued.scope && mask(issued.scope) };
      } catch (error) {
        throw maskFailure(error, mask);
      }
    };
    const token = new RenewedToken({
      now,
      fetchToken,
      onFailure: (failure) => logOutcome(logger, service, failure),
    });
    if (isClosed) token.close();
    return token;
  }

  /** A response with another refresh token must not be lost. */
  function endAfter(rotating: RotatingToken, token: RenewedToken): void {
    ending.add(token);
    void rotating.useOver().then(() => {
      ending.delete(token);
      token.close();
    });
  }

  return {
    acquire(order) {
      const { binding } = order;
      const rotating = binding && rotatingTokens.of(binding);
      const key = JSON.stringify([order.shareKey, binding?.id]);
      const entry = shared.get(key) ?? { token: open(order, rotating), binding: binding?.id, users: 0 };
      entry.users++;
      shared.set(key, entry);
      return {
        token: entry.token,
        rotating,
        async replaceLogin(next) {
          await rotating?.replace(next);
          for (const { token } of withBinding(shared, binding?.id)) token.forget(next !== undefined);
        },
        release() {
          entry.users--;
          if (entry.users > 0) return;
          shared.delete(key);
          if (rotating === undefined) entry.token.close();
          else endAfter(rotating, entry.token);
        },
      };
    },
    retryFailed() {
      for (const { token } of shared.values()) token.retry();
    },
    async close() {
      isClosed = true;
      for (const { token, binding } of shared.values()) if (binding === undefined) token.close();
      await rotatingTokens.close();
      for (const token of [...[...shared.values()].map((entry) => entry.token), ...ending]) token.close();
    },
  };
}

interface Shared {
  readonly token: RenewedToken;
  readonly binding: string | undefined;
  users: number;
}

function withBinding(shared: ReadonlyMap<string, Shared>, id: string | undefined): Shared[] {
  return [...shared.values()].filter(({ binding }) => binding === id);
}

/** @param failure undefined when the endpoint works again. */
function logOutcome(logger: RenewedTokensOptions["logger"], service: string, failure: TokenFailure | undefined): void {
  if (failure === undefined) return logger.info({ service }, "the token endpoint of a credential works again");
  const { message: reason, detail } = failure;
  logger.warn({ service, reason, detail }, "the token endpoint of a credential failed");
}
