/**
 * The refresh tokens of all services, by their binding.
 * Invariant: there is one object for each binding, and it outlives its services: the fetches of a replaced service and of the next one
 * must not send the same refresh token.
 */
import type { Records } from "../../stores/records.ts";
import type { StoredRefreshToken } from "../../stores/stored-refresh-token.ts";
import type { AdmitSecrets } from "./issued-secrets.ts";
import { type RefreshBinding, RotatingToken } from "./rotating-token.ts";

export interface RotatingTokens {
  of(binding: DefinedBinding): RotatingToken;
  /** No use begins from now on. Resolves when all are over, but after 5 s at the latest. */
  close(): Promise<void>;
}

/** What a service says of its binding. */
export type DefinedBinding = Pick<RefreshBinding, "id" | "service" | "configured">;

const GRACE_MS = 5_000;

/** @param isUsed whether a service has the binding with this id now. */
export function createRotatingTokens(
  records: Records<StoredRefreshToken>,
  isUsed: RefreshBinding["isUsed"],
  admitSecrets: AdmitSecrets,
): RotatingTokens {
  const tokens = new Map<string, RotatingToken>();
  return {
    of(binding) {
      const token = tokens.get(binding.id) ?? new RotatingToken(records, { ...binding, isUsed, admitSecrets });
      tokens.set(binding.id, token);
      return token;
    },
    async close() {
      let timer: NodeJS.Timeout | undefined;
      const grace = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, GRACE_MS);
      });
      await Promise.race([Promise.all([...tokens.values()].map((token) => token.close())), grace]);
      clearTimeout(timer);
    },
  };
}
