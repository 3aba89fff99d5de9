/**
 * The credential in the attempts of one exchange: obtained for each of them, and renewed after an upstream refused it with 401.
 * Invariant: an exchange repeats its request for a renewed credential once, and outside of `retries`; it waits for a credential only as
 * long as the client is there and its time lasts.
 */
import { LONGEST_TIMER_MS } from "../../config/schema.ts";
import { GatewayError } from "../../errors.ts";
import {
  type CredentialProvider,
  type InjectableRequest,
  type Injection,
  inject,
  type Repetition,
} from "../credential/credential-provider.ts";
import type { Exchange } from "../exchange.ts";

/** To the response's headers. */
interface RemainingTime {
  readonly remainingMs: number;
}

export class CredentialUse {
  readonly #exchange: Exchange;
  readonly #credential: CredentialProvider;
  #injection: Injection | undefined;
  #renewal: Promise<void> | undefined;
  #hasRenewed = false;
  /** After a refusal: with another credential. */
  #repetition: Repetition | undefined;
  /** Whether `note` has to be called with the next response. */
  isWatched = false;

  constructor(exchange: Exchange, credential: CredentialProvider) {
    this.#exchange = exchange;
    this.#credential = credential;
  }

  /**
   * Injects the credential for the next attempt, at once where it is known.
   * @returns false where the client left. @throws GatewayError UPSTREAM_CREDENTIAL_UNAVAILABLE
   */
  inject(request: InjectableRequest, time: RemainingTime): boolean | Promise<boolean> {
    const obtained = this.#repetition?.injection ?? this.#credential.get();
    if (!(obtained instanceof Promise)) return this.#inject(request, obtained);
    const isThere = obtained.then((injection) => this.#inject(request, injection));
    return unlessGone(isThere, this.#exchange, time.remainingMs);
  }

  #inject(request: InjectableRequest, injection: Injection): true {
    this.#injection = injection;
    this.#exchange.insertedPaths = injection.paths;
    inject(request, injection);
    return true;
  }

  /**
   * Called when the upstream responds with 401; starts a renewal where that is possible.
   * @param mayRepeat whether the request may be sent again; it pays for that. Asked only if there can be a better credential.
   * @returns true where the request is sent again after `renewed`.
   */
  wasRefused(mayRepeat: () => boolean): boolean {
    if (this.#credential.renew === undefined || this.#injection === undefined || this.#hasRenewed) return false;
    // Also for a request that cannot be sent again: the next one has the new credential.
    const renewal = this.#credential.renew(this.#injection);
    if (renewal === undefined) return false;
    const repetition = renewal instanceof Promise ? undefined : renewal;
    if (!mayRepeat()) {
      repetition?.settle(undefined);
      return false;
    }
    this.#hasRenewed = true;
    this.#repetition = repetition;
    this.isWatched = repetition !== undefined;
    this.#renewal = renewal instanceof Promise ? renewal : Promise.resolve();
    return true;
  }

  /** Called with the status of a response while it `isWatched`. */
  note(status: number): void {
    this.#repetition?.settle(status);
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
