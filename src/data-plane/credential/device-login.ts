/**
 * The device flow (RFC 8628): a person enters a code on another machine, and this process asks until the login is over.
 * Invariant: the endpoint is asked no faster than it wants.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isLoopbackHost } from "../../config/hosts.ts";
import { TokenFailure } from "./access-token.ts";
import type { LoginToken } from "./credential-provider.ts";
import { clientOf, type LoginClient, request, requested, tokenOfLogin } from "./login-tokens.ts";

export interface DeviceLogin {
  readonly userCode: string;
  /** Where the person enters the code. */
  readonly verificationUrl: string;
  /** The same with the code in it, if the server has one. */
  readonly completeUrl: string | undefined;
  /** Seconds until the code expires. */
  readonly expiresIn: number;
  /** Resolves when the person has logged in. @throws TokenFailure, whose message completes "the authorization server …". */
  wait(signal: AbortSignal): Promise<LoginToken>;
}

/** Injected by tests. */
export interface Pace {
  /** Monotonic clock, ms. */
  readonly now: () => number;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

const REAL_TIME: Pace = {
  now: () => performance.now(),
  sleep: (ms, signal) => sleep(ms, undefined, { signal }),
};

/** RFC 8628 section 3.2. */
const USUAL_INTERVAL_SECONDS = 5;
/** RFC 8628 section 3.5. */
const SLOW_DOWN_SECONDS = 5;
const LONGEST_INTERVAL_SECONDS = 60;
/** A code that lives longer is not waited for. */
const LONGEST_LIFE_SECONDS = 3_600;

/** @throws TokenFailure */
export async function beginDeviceLogin(
  client: LoginClient,
  signal: AbortSignal,
  pace: Pace = REAL_TIME,
): Promise<DeviceLogin> {
  const oauth = await import("oauth4webapi");
  if (client.endpoints.deviceAuthorizationUrl === undefined) {
    throw new TokenFailure("has no device authorization endpoint: log in without --device");
  }
  const device = await request(client, signal, async ({ server, clientAuth, options }) => {
    const parameters = requested(client.auth);
    const response = await oauth.deviceAuthorizationRequest(server, clientOf(client), clientAuth, parameters, options);
    const conforming = conformingCode((await response.json()) as Record<string, unknown>);
    const received = [server, clientOf(client), Response.json(conforming)] as const;
    return oauth.processDeviceAuthorizationResponse(...received);
  }).catch((error: unknown) => {
    throw asDeviceFailure(error);
  });
  const { device_code: deviceCode, user_code: userCode, verification_uri: verificationUrl, interval } = device;
  const expiresIn = Math.min(device.expires_in, LONGEST_LIFE_SECONDS);
  if (!isShowable(verificationUrl)) throw new TokenFailure("named no https address for the code");
  if (!ENTERABLE.test(userCode)) throw new TokenFailure("named no code that a person can enter");
  const completeUrl = device.verification_uri_complete;
  return {
    userCode,
    verificationUrl,
    completeUrl: completeUrl !== undefined && isShowable(completeUrl) ? completeUrl : undefined,
    expiresIn,
    async wait(waitSignal) {
      const until = pace.now() + expiresIn * 1_000;
      let seconds = Math.min(Math.max(interval ?? USUAL_INTERVAL_SECONDS, 1), LONGEST_INTERVAL_SECONDS);
      for (;;) {
        await pace.sleep(seconds * 1_000, waitSignal);
        if (pace.now() >= until) throw new TokenFailure(EXPIRED);
        const outcome = await ask(client, deviceCode, waitSignal);
        if (typeof outcome === "object") return outcome;
        // RFC 8628 section 3.5: also after a failed connection.
        if (outcome === "slow_down") seconds += SLOW_DOWN_SECONDS;
        if (outcome === "no-response") seconds = Math.min(seconds * 2, LONGEST_INTERVAL_SECONDS);
      }
    },
  };
}

const EXPIRED = "did not get the login in time: the code has expired. Log in again";

type Outcome = LoginToken | "authorization_pending" | "slow_down" | "no-response";

/** @throws TokenFailure */
async function ask(client: LoginClient, deviceCode: string, signal: AbortSignal): Promise<Outcome> {
  const oauth = await import("oauth4webapi");
  try {
    return await request(client, signal, async ({ server, clientAuth, options, hide }) => {
      hide(deviceCode);
      const response = await oauth.deviceCodeGrantRequest(
        ...([server, clientOf(client), clientAuth, deviceCode, options] as const),
      );
      return tokenOfLogin(await oauth.processGenericTokenEndpointResponse(server, clientOf(client), response));
    });
  } catch (error) {
    signal.throwIfAborted();
    const { code, detail } = error as TokenFailure;
    // Google refuses with 428 and 403, GitHub with 200: only the code counts.
    if (code === "authorization_pending" || code === "slow_down") return code;
    if (code === "expired_token") throw new TokenFailure(EXPIRED);
    if (code === "access_denied") throw new TokenFailure("refused the login: access_denied");
    if (code === undefined && detail !== undefined) return "no-response";
    throw error;
  }
}

/** Google's name for the address: https://developers.google.com/identity/protocols/oauth2/limited-input-device */
function conformingCode({ verification_url: url, interval, expires_in: life, ...members }: Record<string, unknown>) {
  return {
    verification_uri: url,
    ...members,
    expires_in: life ?? USUAL_LIFE_SECONDS,
    ...(typeof interval === "number" && interval > 0 ? { interval } : {}),
  };
}

const USUAL_LIFE_SECONDS = 900;

function asDeviceFailure(error: unknown): unknown {
  const isOurs = error instanceof TokenFailure && !error.message.includes("RFC 6749");
  return isOurs ? error : new TokenFailure("responded with something other than a code for a device (RFC 8628)");
}

/** Characters of a keyboard: others could change what a terminal shows. */
const ENTERABLE = /^[\x20-\x7e]{1,64}$/;

/** A person opens it and logs in there: http only on this machine. */
function isShowable(url: string): boolean {
  if (!/^[\x21-\x7e]{1,2048}$/.test(url) || !URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  return protocol === "https:" || (protocol === "http:" && isLoopbackHost(hostname));
}
