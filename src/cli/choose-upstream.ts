/** The only service of `byteproxy proxy`: its key, and how its secret is sent. */
import { readEnvironment } from "../config/env.ts";
import { findKnownApi, type KnownApi, withVariable } from "../config/known-api.ts";
import { type ServiceInput, serviceKey } from "../config/schema.ts";
import type { OnlyService } from "../config/services-file.ts";
import { CliFailure } from "./cli-failure.ts";

export interface ProxyOptions {
  readonly tokenEnv?: string;
  readonly as?: string;
  readonly port?: string;
}

export interface ChosenUpstream {
  readonly service: OnlyService;
  /** The settings of this folder name a DATA_DIR. */
  readonly hasDataDir: boolean;
  /** Printed before the start. */
  readonly note: string | undefined;
}

const isAllowedKey = (key: string) => serviceKey.safeParse(key).success;

/** @throws CliFailure */
export function chooseUpstream(url: URL, { as, tokenEnv }: ProxyOptions): ChosenUpstream {
  const { variables } = readEnvironment();
  if (as !== undefined && !isAllowedKey(as)) {
    throw new CliFailure(2, ["--as is not valid. Allowed: a-z, 0-9, dots, dashes and underscores, like github."]);
  }
  // The name is not repeated: it may be the secret itself.
  if (tokenEnv !== undefined && !variables.has(tokenEnv)) {
    throw new CliFailure(2, [
      "The variable that --token-env names is not set: set it in the environment, .env or .env.local, and give its name, like GITHUB_TOKEN.",
    ]);
  }
  const known = findKnownApi(url);
  const key = as ?? known?.name ?? keyOf(url);
  return {
    service: { key, config: { ...describeApi(url, known), ...authOf(known, tokenEnv) } },
    hasDataDir: variables.has("DATA_DIR"),
    note: tokenEnv === undefined ? describeMissing(known) : undefined,
  };
}

/** What the recipe says about each request, without the credential. */
function describeApi({ href }: URL, known: KnownApi | undefined): ServiceInput {
  if (known === undefined) return { baseUrl: href };
  const { auth: _, versionedBaseUrls, pathHints, baseUrl, ...rest } = known.service;
  // They belong to the recipe's own base URL.
  const ofThisUrl = { ...(versionedBaseUrls && { versionedBaseUrls }), ...(pathHints && { pathHints }) };
  return { ...rest, baseUrl: href, ...(baseUrl === href ? ofThisUrl : {}) };
}

/** @throws CliFailure for a credential with several secrets. */
function authOf(known: KnownApi | undefined, variable: string | undefined): Pick<ServiceInput, "auth" | "ws"> {
  // Without a credential there is nothing to put into messages.
  if (variable === undefined) return typeof known?.service.ws === "object" ? { ws: true } : {};
  const original = known?.service.auth;
  if (known === undefined || original === undefined) return { auth: { type: "bearer", tokenEnvVar: variable } };
  const auth = withVariable(original, variable);
  if (auth !== undefined) return { auth };
  throw new CliFailure(2, [
    `${known.name} needs several secrets, and --token-env names only one: run byteproxy services add ${known.name} --offline, then byteproxy start.`,
  ]);
}

function describeMissing(known: KnownApi | undefined): string | undefined {
  const variable = known?.service.auth?.tokenEnvVar;
  if (variable === undefined) return undefined;
  return `No credential is sent to ${known?.name}: --token-env ${variable} sends the value of that variable as this API expects it.`;
}

/** `https://api.weather.example/v2` becomes `weather`. */
function keyOf({ hostname }: URL): string {
  const isAddress = /^\[|^[\d.]+$/.test(hostname);
  const labels = hostname.replace(/^(?:api|www)\./, "").split(".");
  const key = isAddress ? "upstream" : (labels[0] ?? "");
  return isAllowedKey(key) ? key : "upstream";
}
