/**
 * The services that were added, or changed, over REST, and the services that a gateway serves: those of its configuration, each
 * replaced by the stored one with the same key.
 */
import type { Config } from "../config/load-config.ts";
import { ConfigProblems, showPath } from "../config/problems.ts";
import { describeTaken } from "../config/review-addresses.ts";
import type { RuntimeReading } from "../config/runtime-service.ts";
import type { Service } from "../config/schema.ts";
import { ServiceAddresses } from "../config/service-addresses.ts";
import type { FoundProblem } from "../config/translate-issue.ts";
import { isObject } from "../is-object.ts";
import type { StoredRecord } from "../stores/records.ts";
import { Yielder } from "../yielder.ts";

/** A service that was added, or changed, over REST. */
export interface StoredService {
  /** As the caller wrote it, by the schema of the services file. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** `config` is checked at each start and reload, because the schema may have changed. */
export function isStoredService(value: unknown): value is StoredService {
  return isObject(value) && isObject(value.config);
}

/** @throws ConfigProblems if a stored service does not match the schema. */
export async function withStoredServices(
  config: Config,
  stored: ReadonlyMap<string, StoredRecord<StoredService>>,
): Promise<{ readonly services: Iterable<Service>; readonly warnings: readonly string[] }> {
  if (stored.size === 0) return { services: config.services.values(), warnings: config.warnings };
  const services = new Map(config.services);
  const problems: string[] = [];
  const warnings = [...config.warnings];
  const yielder = new Yielder();
  // An address that the services file gives to another service since then is that service's.
  const addresses = ServiceAddresses.of([...services.values()].filter(({ key }) => !stored.has(key)));
  for (const [key, { value }] of stored) {
    if (yielder.isDue) await yielder.yield();
    const reading = withFreeAddresses(config.readRuntimeService(key, value.config), addresses);
    if ("problems" in reading) {
      // A file or a variable that is missing on this machine must not stop all other services.
      const isOut = reading.isDefined;
      if (isOut) services.delete(key);
      for (const found of reading.problems.map(describe)) {
        if (isOut) warnings.push(`${found}; ${key} is out of use until this is fixed`);
        else problems.push(found);
      }
      continue;
    }
    services.set(key, reading.service);
    warnings.push(...reading.warnings.map(describe));
    const { refusal } = reading;
    if (refusal !== undefined) {
      warnings.push(
        describe({ path: ["services", key, ...refusal.path], at: "value", text: `${refusal.message} ${refusal.hint}` }),
      );
    }
  }
  if (problems.length > 0) throw new ConfigProblems(problems);
  return { services: services.values(), warnings };
}

/** Out of use if another service has one of its addresses. */
function withFreeAddresses(reading: RuntimeReading, addresses: ServiceAddresses): RuntimeReading {
  if ("problems" in reading) return reading;
  const { service } = reading;
  const problems = describeTaken(service.key, addresses.add(service));
  return problems.length === 0 ? reading : { problems, isDefined: true };
}

const describe = ({ path, text, place }: FoundProblem) => `${place ?? `${showPath(path)} (added over REST)`}: ${text}`;
