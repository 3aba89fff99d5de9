/**
 * Where the gateway is that a command talks to, and the key for it: from the settings that it would start with in this folder.
 * Invariant: the key comes from the environment or its files, never from the command line, which every process can read.
 */
import { readEnvironment, type Variable } from "../config/env.ts";
import { readSettings, variablePlace } from "../config/read-settings.ts";
import type { Secret } from "../config/secret.ts";
import type { Settings } from "../config/settings.ts";
import { CliFailure } from "./cli-failure.ts";

export interface GatewayAddress {
  /** Without a slash at its end. */
  readonly url: string;
  readonly key: Secret | undefined;
  /** `MANAGEMENT_API_KEY (.env)`; undefined where there is no key. */
  readonly keyPlace: string | undefined;
}

/** Settings that count here: what is wrong with others is the gateway's own business. */
const ADDRESS = /^(HOST|PORT|MANAGEMENT_HOST|MANAGEMENT_PORT)\b/;
const KEY = /^MANAGEMENT_API_KEY(_FILE)?\b/;

/** @param url of the command line. @throws CliFailure */
export function readGatewayAddress(url: string | undefined): GatewayAddress {
  const { variables } = readEnvironment();
  const found: string[] = [];
  const { settings } = readSettings(variables, process.cwd(), found);
  const problems = found.filter((line) => KEY.test(line) || (url === undefined && ADDRESS.test(line)));
  if (problems.length > 0) throw new CliFailure(2, problems);
  const key = settings.MANAGEMENT_API_KEY;
  return { url: url ?? urlOf(settings), key, keyPlace: key && placeOf(variables) };
}

function placeOf(variables: ReadonlyMap<string, Variable>): string {
  const name = variables.has("MANAGEMENT_API_KEY") ? "MANAGEMENT_API_KEY" : "MANAGEMENT_API_KEY_FILE";
  return variablePlace(name, variables.get(name) as Variable);
}

function urlOf({ HOST, PORT, MANAGEMENT_HOST, MANAGEMENT_PORT }: Settings): string {
  const [host, port] = MANAGEMENT_PORT === undefined ? [HOST, PORT] : [MANAGEMENT_HOST ?? HOST, MANAGEMENT_PORT];
  if (port === 0) {
    throw new CliFailure(2, ["The settings leave the port to the system (0): name the gateway's address with --url."]);
  }
  // What listens on all addresses is on this one, too.
  const local = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `http://${local.includes(":") ? `[${local}]` : local}:${port}`;
}
