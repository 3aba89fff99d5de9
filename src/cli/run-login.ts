/**
 * Runs a login: prints the URL or the code, waits for the person, and hands the token over.
 * Invariant: no token, code or verifier is printed. What the person did is not lost to a problem that could be seen before.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type LoginFlows, openLoginFlows } from "../composition/login-client.ts";
import type { AuthDefinition } from "../config/auth-schema.ts";
import { nameMissing } from "../config/credential-source.ts";
import { isLoopbackHost } from "../config/hosts.ts";
import { loadConfig } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import type { LoginToken } from "../data-plane/credential/credential-provider.ts";
import { nextListeners } from "../start/read-configuration.ts";
import { startFailure } from "../start/start-failure.ts";
import { CliFailure } from "./cli-failure.ts";
import { NoGateway, openGatewayClient } from "./gateway-client.ts";
import { FolderInUse, openOfflineLogins } from "./offline-stores.ts";
import type { CommonOptions } from "./options.ts";
import { printJson, printLine, printNote } from "./output.ts";
import { openRedirectListener } from "./redirect-listener.ts";
import { pathOf } from "./service-backend.ts";

export interface LoginOptions extends CommonOptions {
  readonly device?: boolean;
  readonly redirectUri?: URL;
  /** ms */
  readonly timeout?: number;
}

/** @throws CliFailure */
export async function runLogin(key: string, options: LoginOptions): Promise<void> {
  const stop = stopAfter(options.timeout ?? FIVE_MINUTES_MS);
  const { login, target } = await obtain(key, options, stop);
  const storedIn = await handOver(target, login);
  const kind = login.isAccessToken ? "an access token that does not expire" : "a refresh token";
  if (options.json) printJson({ key, token: login.isAccessToken ? "access" : "refresh", storedIn });
  else if (storedIn === "gateway") printLine(`Logged in: the gateway has ${kind} for ${key} and uses it from now on.`);
  else printLine(`Logged in: ${kind} for ${key} is in DATA_DIR. The gateway uses it after its next start.`);
}

const FIVE_MINUTES_MS = 300_000;

/** @throws CliFailure */
async function obtain(
  key: string,
  options: LoginOptions,
  stop: Stop,
): Promise<{ readonly login: LoginToken; readonly target: Target }> {
  try {
    const flows = await openFlows(key, stop.signal);
    const target = { key, auth: flows.auth, url: options.url };
    await checkHandOver(target);
    const { signal } = stop;
    const login = await (options.device ? loginOnDevice(flows, signal) : loginInBrowser(flows, options, signal));
    return { login, target };
  } catch (error) {
    throw stop.reason() ?? explain(error);
  } finally {
    stop.clear();
  }
}

/** @throws CliFailure, or TokenFailure of a discovery. */
async function openFlows(key: string, signal: AbortSignal): Promise<LoginFlows> {
  // A start on a public address may need a key, and a login does not.
  const config = await loadConfig({ hasIssuedKey: () => true }).catch((error: unknown) => {
    throw startFailure(error);
  });
  const service = config.services.get(key);
  if (service === undefined) {
    throw new CliFailure(1, [
      `There is no service ${key} in the services file of this folder, ${config.configFile.path}.`,
    ]);
  }
  if (!isFromLogin(service)) {
    throw new CliFailure(2, [`The auth of ${key} has no "refreshToken": "login", so there is nothing to log in for.`]);
  }
  const context = { settings: config.settings, ownListeners: () => nextListeners(config) };
  const flows = await openLoginFlows(service, context, signal);
  if (flows !== undefined) return flows;
  throw new CliFailure(2, [`${key} lacks a secret of its client: set ${nameMissing(service.credential)} first.`]);
}

function isFromLogin(service: Service): service is Service & { readonly auth: AuthDefinition } {
  return service.auth?.refreshToken === "login";
}

async function loginInBrowser(
  flows: LoginFlows,
  { redirectUri }: LoginOptions,
  signal: AbortSignal,
): Promise<LoginToken> {
  const listener = await openRedirectListener(redirectUri ?? new URL("http://127.0.0.1/callback"));
  try {
    const pending = await flows.inBrowser(listener.redirectUri);
    const received = listener.received(pending.state);
    // On stderr: with --json, stdout has the result only.
    printNote("Open this URL in a browser on this machine, and log in:");
    for (const line of ["", `  ${pending.url}`, ""]) printNote(line);
    const parameters = await Promise.race([received, aborted(signal)]);
    try {
      const login = await pending.complete(parameters, signal);
      listener.show("Logged in", "You can close this page and return to the terminal.");
      return login;
    } catch (error) {
      const failure = explain(error);
      listener.show("The login failed", failure instanceof CliFailure ? failure.message : "See the terminal.", true);
      throw failure;
    }
  } finally {
    await listener.close();
  }
}

async function loginOnDevice(flows: LoginFlows, signal: AbortSignal): Promise<LoginToken> {
  const device = await flows.onDevice(signal);
  printNote(`Open ${device.verificationUrl} on any machine, and enter the code ${device.userCode}`);
  if (device.completeUrl !== undefined) printNote(`or open ${device.completeUrl}`);
  return device.wait(signal);
}

/** Where the token goes. */
interface Target {
  readonly key: string;
  /** What the login was for. */
  readonly auth: AuthDefinition;
  /** Undefined for the gateway of this folder. */
  readonly url: string | undefined;
}

/** Before the person does anything. @throws CliFailure */
async function checkHandOver(target: Target): Promise<void> {
  if (await isServed(target)) {
    const { protocol, origin, hostname } = new URL(openGatewayClient(target.url).url);
    if (protocol === "http:" && !isLoopbackHost(hostname)) {
      printNote(`${origin} has no TLS: the management key and the token can be read on the way. Use https.`);
    }
    return;
  }
  const backend = await openOfflineLogins();
  await backend.close();
}

interface ServedService {
  readonly config: { readonly auth?: Readonly<Record<string, unknown>> };
}

/** What a token belongs to: another endpoint or client must not receive it. */
const OF_TOKEN = ["refreshToken", "tokenUrl", "issuer", "clientId", "clientIdEnvVar"] as const;

/** @returns false where no gateway runs. @throws CliFailure */
async function isServed({ key, auth, url }: Target): Promise<boolean> {
  try {
    const { config } = await openGatewayClient(url).ask<ServedService>("GET", pathOf(key), { members: ["config"] });
    const other = OF_TOKEN.find((member) => config.auth?.[member] !== auth[member]);
    if (other === undefined) return true;
    const difference = `has another ${other} for ${key} than the services file of this folder`;
    throw new CliFailure(1, [`The running gateway ${difference}: run byteproxy reload, or log in where it runs.`]);
  } catch (error) {
    // With --url, the operator means that gateway.
    if (error instanceof NoGateway && error.isRefused && url === undefined) return false;
    throw error;
  }
}

/** A person would have to log in again: a gateway that is starting, or another command, gets some time. */
const HAND_OVER_MS = 15_000;
const PAUSE_MS = 250;

/** The gateway may have been started or stopped meanwhile. @throws CliFailure */
async function handOver(target: Target, login: LoginToken): Promise<"gateway" | "DATA_DIR"> {
  const until = performance.now() + HAND_OVER_MS;
  for (let isFirst = true; ; isFirst = false) {
    try {
      return await handOverOnce(target, login);
    } catch (error) {
      if (!(error instanceof FolderInUse) || performance.now() > until) throw error;
      if (isFirst) printNote("Another process has DATA_DIR: waiting until it ends, or serves requests.");
      await sleep(PAUSE_MS);
    }
  }
}

/** @throws CliFailure */
async function handOverOnce(target: Target, login: LoginToken): Promise<"gateway" | "DATA_DIR"> {
  const { key, url } = target;
  if (await isServed(target)) {
    const { token, isAccessToken, scope } = login;
    const body = isAccessToken
      ? { accessToken: token, ...(scope === undefined ? {} : { scope }) }
      : { refreshToken: token };
    await openGatewayClient(url).ask("PUT", `${pathOf(key)}/credential`, { body });
    return "gateway";
  }
  const backend = await openOfflineLogins();
  try {
    await backend.store(key, login);
  } finally {
    await backend.close();
  }
  return "DATA_DIR";
}

interface Stop {
  readonly signal: AbortSignal;
  /** Why the login was ended; undefined if it was not. */
  reason(): CliFailure | undefined;
  clear(): void;
}

/** Ctrl-C, SIGTERM, and the time limit end a login. */
function stopAfter(timeoutMs: number): Stop {
  const controller = new AbortController();
  let reason: string | undefined;
  const stop = (text: string) => () => {
    reason ??= text;
    controller.abort();
  };
  const cancel = stop("The login was canceled. Nothing was changed.");
  const timer = setTimeout(stop("The login was not completed in time. Nothing was changed."), timeoutMs);
  process.once("SIGINT", cancel);
  process.once("SIGTERM", cancel);
  return {
    signal: controller.signal,
    reason: () => (reason === undefined ? undefined : new CliFailure(1, [reason])),
    clear() {
      clearTimeout(timer);
      process.off("SIGINT", cancel);
      process.off("SIGTERM", cancel);
    },
  };
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** A TokenFailure, whose class belongs to the data plane. */
function explain(error: unknown): unknown {
  if (error instanceof CliFailure || !(error instanceof Error) || !("retryAfterMs" in error)) return error;
  const { message, detail } = error as Error & { readonly detail?: string };
  return new CliFailure(1, [`The authorization server ${message}${detail ? ` (${detail})` : ""}.`]);
}
