/**
 * The credential in the attempts of one exchange: chosen from a pool and obtained for each of them; after an upstream refused it with 401,
 * renewed, or replaced by another one of its pool.
 * Invariant: an exchange repeats its request for another credential once, and outside of `retries`; it waits for a credential only as
 * long as the client is there and its time lasts.
 */
import { LONGEST_TIMER_MS } from "../../config/schema.ts";
import { GatewayError } from "../../errors.ts";
import {
  type CredentialPool,
  type CredentialProvider,
  type Injection,
  inject,
  NOTHING,
  type PoolMember,
  type Repetition,
} from "../credential/credential-provider.ts";
import type { InjectableRequest } from "../credential/injectable-request.ts";
import type { CredentialLife } from "../credential-life.ts";
import type { Exchange } from "../exchange.ts";
import type { PreparedService } from "../prepared-service.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";

/** To the response's headers. */
interface RemainingTime {
  readonly remainingMs: number;
}

/** The part of a route that the credential depends on. */
export interface CredentialRoute {
  readonly prepared: Pick<PreparedService, "credential" | "quota" | "credentialRefusals">;
  readonly path: string;
}

export class CredentialUse {
  readonly #exchange: Exchange;
  readonly #route: CredentialRoute;
  readonly #credential: CredentialProvider;
  #injection: Injection | undefined;
  #renewal: Promise<void> | undefined;
  #hasRenewed = false;
  /** After a refusal: with another credential. */
  #repetition: Repetition | undefined;
  readonly #life: CredentialLife | undefined;
  /** Whether `note` has to be called with the next response. */
  isWatched: boolean;

  constructor(exchange: Exchange, route: CredentialRoute) {
    this.#exchange = exchange;
    this.#route = route;
    this.#credential = route.prepared.credential;
    const { life } = route.prepared.credentialRefusals;
    this.#life = life;
    this.isWatched = life !== undefined && --life.skip < 0;
    if (this.#credential.staged?.rotation.isUndecided) this.isWatched = true;
  }

  /**
   * Injects the credential for the next attempt, at once where it is known.
   * @returns false where the client left. @throws GatewayError UPSTREAM_CREDENTIAL_UNAVAILABLE
   */
  inject(request: InjectableRequest, time: RemainingTime): boolean | Promise<boolean> {
    if (this.#credential.pool !== undefined) return this.#injectFromPool(this.#credential.pool, request, time);
    const obtained = this.#repetition?.injection ?? this.#credential.get();
    return obtained instanceof Promise ? this.#injectLater(obtained, request, time) : this.#inject(request, obtained);
  }

  #injectLater(obtained: Promise<Injection>, request: InjectableRequest, time: RemainingTime): Promise<boolean> {
    const isThere = obtained.then((injection) => this.#inject(request, injection));
    return unlessGone(isThere, this.#exchange, time.remainingMs);
  }

  /** Of the credential whose quota was reserved; without a reservation one is chosen now. A source that fails leads to another one. */
  async #injectFromPool(pool: CredentialPool, request: InjectableRequest, time: RemainingTime): Promise<boolean> {
    const exchange = this.#exchange;
    const { voter } = exchange;
    for (const failed = new Set<PoolMember>(); ; ) {
      const chosen = this.#chosenFrom(pool, failed);
      try {
        const obtained = chosen.provider.get();
        if (!(obtained instanceof Promise)) return this.#inject(request, obtained);
        const other = pool.obtainOther(chosen, voter, failed.has(chosen));
        return await this.#injectFirst(obtained, other, { request, time });
      } catch (thrown) {
        const isKnown = failed.has(chosen);
        failed.add(chosen);
        const hasOther = pool.usable(voter).some((each) => !failed.has(each) && pool.stateOf(each, voter) === "ready");
        if (thrown !== OVERTAKEN && (!hasOther || isKnown)) {
          if (pool.isRequired || time.remainingMs <= 0) throw thrown;
          return this.#inject(request, NOTHING);
        }
        const refusal = await exchange.quota?.enter(Math.floor(time.remainingMs));
        if (refusal !== undefined) throw refusal;
        if (exchange.hasClientLeft) return false;
        await exchange.reacquireSlots(exchange.queuedMs + time.remainingMs);
      }
    }
  }

  /** Fails with `OVERTAKEN` if another credential of the pool is there first. */
  #injectFirst(
    obtained: Promise<Injection>,
    other: Promise<void>,
    { request, time }: { readonly request: InjectableRequest; readonly time: RemainingTime },
  ): Promise<boolean> {
    let isOver = false;
    const own = obtained.then((injection) => isOver || this.#inject(request, injection));
    const overtaken = other.then(() => {
      throw OVERTAKEN;
    });
    const first = Promise.race([own, overtaken]).finally(() => {
      isOver = true;
    });
    return unlessGone(first, this.#exchange, time.remainingMs);
  }

  /** @param failed not chosen again without a reservation. */
  #chosenFrom(pool: CredentialPool, failed: ReadonlySet<PoolMember>): PoolMember {
    const exchange = this.#exchange;
    const { poolUse = {}, method, voter } = exchange;
    exchange.poolUse = poolUse;
    if (exchange.quota !== undefined && poolUse.chosen !== undefined) return poolUse.chosen;
    const { prepared, path } = this.#route;
    const asking = { method, path, voter, pinned: poolUse.pinned };
    const best = prepared.quota?.choose(pool, asking) ?? pool.choose(voter);
    const chosen = failed.has(best) ? (pool.usable(voter).find((other) => !failed.has(other)) ?? best) : best;
    poolUse.chosen = chosen;
    return chosen;
  }

  #inject(request: InjectableRequest, injection: Injection): true {
    this.#injection = injection;
    this.#exchange.insertedPaths = injection.paths;
    inject(request, injection);
    return true;
  }

  /**
   * Called when the upstream responds with 401; starts a renewal where that is possible.
   * @param mayRepeat whether the request may be sent again. Asked only if there can be a better credential.
   * @returns true where the request is sent again after `renewed`.
   */
  wasRefused(mayRepeat: () => boolean): boolean {
    if (this.#injection === undefined) return false;
    const { pool } = this.#credential;
    const chosen = this.#exchange.poolUse?.chosen;
    if (pool !== undefined && chosen !== undefined) return this.#wasRefusedInPool(pool, chosen, mayRepeat);
    if (this.#credential.renew === undefined || this.#hasRenewed) return false;
    // Also for a request that cannot be sent again: the next one has the new credential.
    const renewal = this.#credential.renew(this.#injection, `${this.#exchange.method} ${this.#route.path}`);
    if (renewal === undefined) return false;
    const repetition = renewal instanceof Promise ? undefined : renewal;
    if (!mayRepeat()) {
      repetition?.settle(undefined);
      return false;
    }
    this.#hasRenewed = true;
    this.#repetition = repetition;
    if (repetition !== undefined) this.isWatched = true;
    this.#renewal = renewal instanceof Promise ? renewal : Promise.resolve();
    return true;
  }

  /** The credential rests also where the request is not sent again. */
  #wasRefusedInPool(pool: CredentialPool, chosen: PoolMember, mayRepeat: () => boolean): boolean {
    if (this.#injection === undefined || this.#injection === NOTHING) return false;
    const renewal = pool.refused(chosen, this.#injection, this.#exchange.voter);
    if (renewal === undefined || this.#hasRenewed || !mayRepeat()) return false;
    this.#hasRenewed = true;
    this.#renewal = renewal;
    return true;
  }

  /** Called with each response while it `isWatched`. @param status 401 for every refusal of the credential. */
  note(status: number, headers: ResponseHeaders): void {
    this.#repetition?.settle(status);
    const { staged } = this.#credential;
    if (staged !== undefined && this.#injection === staged.next.injection) staged.rotation.noteNextResponse(status);
    if (status < 400 && this.#repetition === undefined) this.#life?.read(headers);
  }

  /** Undefined where there is no renewal to wait for; else false where the client left. @throws GatewayError as `inject` does. */
  renewed({ remainingMs }: RemainingTime): Promise<boolean> | undefined {
    const renewal = this.#renewal;
    this.#renewal = undefined;
    return (
      renewal &&
      unlessGone(
        renewal.then(() => true),
        this.#exchange,
        remainingMs,
      )
    );
  }
}

/** Another credential of the pool can be used, and this one is still to be obtained. */
const OVERTAKEN = Symbol("overtaken");

/** Resolves to false where the client left. @throws GatewayError after `withinMs`. */
function unlessGone(pending: Promise<boolean>, exchange: Exchange, withinMs: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      exchange.onClose = undefined;
    };
    const onTimeout = () => {
      stop();
      reject(credentialTooSlow(exchange.serviceKey));
    };
    const timer = setTimeout(onTimeout, Math.max(0, Math.min(withinMs, LONGEST_TIMER_MS)));
    pending.finally(stop).then(resolve, reject);
    exchange.onClose = () => {
      stop();
      resolve(false);
    };
  });
}

/** @param limit `timeoutMs`, or a shorter time. */
export function credentialTooSlow(serviceKey: string, limit = "timeoutMs"): GatewayError {
  return new GatewayError("UPSTREAM_CREDENTIAL_UNAVAILABLE", {
    message: `${serviceKey} needs a credential, but it was not obtained within ${limit}. Nothing was sent with it.`,
    hint: "Send the request again. If this happens often, raise timeoutMs or make the source of the credential faster.",
  });
}
