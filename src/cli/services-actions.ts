/** `byteproxy services`: what each command does, once its words are understood. */
import type { ProbeOutcome } from "../registry/probe-outcome.ts";
import type { ServiceItem } from "../registry/service-items.ts";
import { CliFailure } from "./cli-failure.ts";
import type { DeskOptions } from "./desk.ts";
import { plain, remark, say, sayJson, sayTable } from "./output.ts";
import { readServiceConfig, type ServiceOptions } from "./service-config.ts";
import { atServiceDesk, testService } from "./service-desk.ts";

export interface CommonOptions extends DeskOptions {
  readonly json?: boolean;
}

export async function listServices(options: CommonOptions): Promise<void> {
  const list = await atServiceDesk(options, (desk) => desk.list());
  if (options.json) return sayJson(list);
  sayTable(["KEY", "SOURCE", "CREDENTIAL", "BASE URL"], list.services.map(row));
  for (const { key, outOfUse } of list.services) {
    if (outOfUse !== undefined) remark(`${key} is out of use: ${outOfUse.join("; ")}`);
  }
}

function row({ key, source, config, credential }: ServiceItem): string[] {
  return [key, source, credentialWords(credential), String(config.baseUrl)];
}

function credentialWords({ state, source, withheld }: ServiceItem["credential"]): string {
  if (withheld !== undefined) return `locked: ${source}`;
  return source === null ? state : `${state}: ${source}`;
}

export async function addService(key: string, options: CommonOptions & ServiceOptions): Promise<void> {
  const config = await readServiceConfig(options);
  const item = await atServiceDesk(options, (desk) => desk.add(key, config));
  if (options.json) return sayJson(item);
  const credential = item.credential.source === null ? "" : ` (credential ${credentialWords(item.credential)})`;
  const served = options.offline ? "from the next start on" : "from now on";
  say(`${key} is served ${served}: /proxy/${key}/ leads to ${String(item.config.baseUrl)}${credential}`);
}

export async function removeService(key: string, options: CommonOptions): Promise<void> {
  const { source } = await atServiceDesk(options, (desk) => desk.remove(key));
  if (options.json) return sayJson({ key, source, removed: true });
  say(source === "override" ? `${key} is again as the file has it, or as it is built in` : `${key} is removed`);
}

/** Exit code 1 for a service that cannot be reached. */
export async function probeService(key: string, { url, json }: CommonOptions): Promise<void> {
  const outcome = await testService(url, key);
  if (json) sayJson(outcome);
  if (outcome.status === "reachable") {
    if (!json) say(reachableWords(outcome));
    return;
  }
  const { phase, error = "", troubleshooting = [] } = outcome;
  const why = error.startsWith(`${key}: `) ? error.slice(key.length + 2) : error;
  throw new CliFailure(1, [plain(`${key} is unreachable (${phase}): ${[why, ...troubleshooting].join(" ")}`)]);
}

function reachableWords({ service, responseStatus, duration, phases, credential, certificate }: ProbeOutcome): string {
  const times = Object.entries(phases).flatMap(([name, ms]) => (ms === null ? [] : `${name} ${ms}`));
  const facts = [
    `${service} is reachable: ${responseStatus} in ${duration} (${times.join(", ")} ms)`,
    ...(credential === "none" ? [] : [`credential ${credential}`]),
    ...(certificate === null ? [] : [`certificate valid for ${certificate.daysLeft} days`]),
  ];
  return facts.join("; ");
}
