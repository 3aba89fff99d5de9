/**
 * `byteproxy doctor --bundle`: one file with what a helper asks for first.
 * Invariant: a list of what goes in, each part masked where it was made, and the whole once more with every secret that this folder
 * knows; no value of a variable that is, or may be, a secret.
 */
import { maskIssuedKeys } from "../callers/issued-key.ts";
import { readConfig } from "../config/load-config.ts";
import { createSecretMask, maskTexts, type SecretMask } from "../telemetry/redact.ts";
import { version } from "../version.ts";
import { CliFailure } from "./cli-failure.ts";
import type { Examination } from "./doctor.ts";
import type { GatewayClient } from "./gateway-client.ts";
import { alreadyThere, writeNew } from "./write-new.ts";

/** Of what is in the file: programs may read it. */
const FORMAT = 1;

/** Changes of lately, entries. */
const AUDIT_LIMIT = 20;

/** @throws CliFailure */
export async function writeBundle(path: string, examination: Examination): Promise<void> {
  const { diagnostics, notRunning, client } = examination;
  const { environment, recentErrors, ...rest } = diagnostics;
  const { settings, ...files } = environment;
  const { version: running, commit, runtime, platform } = diagnostics.system;
  const bundle = {
    format: FORMAT,
    createdAt: new Date().toISOString(),
    ...{ version: running, commit, runtime, platform },
    // It may be another one, on another machine.
    doctor: version,
    gateway: notRunning === undefined ? { running: true } : { running: false, ...notRunning },
    diagnostics: { ...rest, environment: files },
    config: { file: environment.configFile, settings, services: await servicesOf(examination) },
    recentErrors,
    ...(client === undefined ? {} : await toldByGateway(client)),
  };
  const text = `${JSON.stringify(maskTexts(bundle, await maskOfThisFolder()), null, 2)}\n`;
  if (!writeNew(path, text, 0o600)) throw alreadyThere(path);
}

async function servicesOf({ services, client }: Examination): Promise<unknown> {
  return client === undefined ? services : part(client, "/manage/services", "services");
}

async function toldByGateway(client: GatewayClient) {
  return {
    status: await part(client, "/status"),
    audit: await part(client, `/manage/audit?limit=${AUDIT_LIMIT}`, "entries"),
  };
}

/** What is not to be had is said in its place: the rest is worth sending all the same. */
async function part(client: GatewayClient, path: string, member?: string): Promise<unknown> {
  try {
    const answer = await client.ask("GET", path);
    return member === undefined ? answer : (answer as Readonly<Record<string, unknown>> | undefined)?.[member];
  } catch (error) {
    if (error instanceof CliFailure) return { unavailable: error.lines.join(" ") };
    throw error;
  }
}

/** The gateway's own answers are masked by now; whoever sends a file does not want to rely on that alone. */
async function maskOfThisFolder(): Promise<SecretMask> {
  const { config } = await readConfig();
  const keys = [config.proxyPlane.key, config.managementPlane.key];
  const credentials = [...config.services.values()].map(({ credential }) => credential?.secret);
  const mask = createSecretMask([...keys, ...credentials].flatMap((secret) => secret?.reveal() ?? []));
  return (text) => maskIssuedKeys(mask(text));
}
