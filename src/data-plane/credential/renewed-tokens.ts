/**
 * The access tokens of all services. Services with the same client and the same request share a token.
 * Invariant: a token that no service uses any more is forgotten; one that a reload keeps stays as it is.
 */
import type { Records } from "../../stores/records.ts";
import type { StoredRefreshToken } from "../../stores/stored-refresh-token.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { AccessToken } from "./access-token.ts";
import { RenewedToken } from "./renewed-token.ts";
import { type RefreshBinding, RotatingToken } from "./rotating-token.ts";

/** How the tokens of one service are obtained. Each type of credential makes its own. */
export interface TokenOrder {
  /** For the log. */
  readonly serviceKey: string;
  /** Names the account of the upstream. Another token or another secret of the same client is still the same account. */
  readonly account: string;
  /** Everything on which a token depends, secrets included. Services with an equal one share a token. */
  readonly shareKey: string;
  /** Of the grant `refresh_token`: what the refresh token is bound to. Services with another binding share nothing. */
  readonly binding?: Omit<RefreshBinding, "isUsed"> | undefined;
  /** @param rotating defined where `binding` is. @throws TokenFailure */
  readonly fetchToken: (signal: AbortSignal, rotating: RotatingToken | undefined) => Promise<AccessToken>;
}

export interface RenewedTokens {
  /** To be released once. */
  acquire(order: TokenOrder): { readonly token: RenewedToken; release(): void };
  /** After a reload: failing endpoints may be asked again at once. */
  retryFailed(): void;
  /** Ends every fetch, now and from now on. */
  close(): void;
}

export interface RenewedTokensOptions {
  readonly logger: Pick<Logger, "warn" | "info">;
  /** Refresh tokens that outlive the process. */
  readonly refreshTokens: Records<StoredRefreshToken>;
  /** Monotonic clock, ms. */
  readonly now?: () => number;
}

export function createRenewedTokens({
  logger,
  refreshTokens,
  now = () => performance.now(),
}: RenewedTokensOptions): RenewedTokens {
  const shared = new Map<
    string,
    { readonly token: RenewedToken; readonly binding: string | undefined; users: number }
  >();
  let isClosed = false;
  const isUsed = (id: string) => [...shared.values()].some(({ binding }) => binding === id);

  function open(order: TokenOrder): RenewedToken {
    const { serviceKey: service, binding } = order;
    const rotating = binding && new RotatingToken(refreshTokens, { ...binding, isUsed });
    const token = new RenewedToken({
      now,
      fetchToken: (signal) => order.fetchToken(signal, rotating),
      onFailure(failure) {
        if (failure === undefined) logger.info({ service }, "the token endpoint of a credential works again");
        else {
          const { message: reason, detail } = failure;
          logger.warn({ service, reason, detail }, "the token endpoint of a credential failed");
        }
      },
    });
    if (isClosed) token.close();
    return token;
  }

  return {
    acquire(order) {
      const key = JSON.stringify([order.shareKey, order.binding?.id]);
      const entry = shared.get(key) ?? { token: open(order), binding: order.binding?.id, users: 0 };
      entry.users++;
      shared.set(key, entry);
      return {
        token: entry.token,
        release() {
          entry.users--;
          if (entry.users > 0) return;
          shared.delete(key);
          // A response with another refresh token must not be lost.
          if (order.binding === undefined) entry.token.close();
        },
      };
    },
    retryFailed() {
      for (const { token } of shared.values()) token.retry();
    },
    close() {
      isClosed = true;
      for (const { token } of shared.values()) token.close();
    },
  };
}
