/** The secrets of token files, read anew without looking at anything else: a rotated token is no new configuration. */
import { unusableSecret } from "./credentials.ts";
import type { Config } from "./load-config.ts";
import { ConfigProblems } from "./problems.ts";
import { readTextFile, withoutTrailingNewlines } from "./read-file.ts";
import type { Service } from "./schema.ts";
import { Secret } from "./secret.ts";

/** Those of the services whose file holds another secret by now. @throws ConfigProblems for a file that holds no usable one. */
export function withFreshTokens(
  services: Iterable<Service>,
  { proxyPlane, managementPlane }: Pick<Config, "proxyPlane" | "managementPlane">,
): Service[] {
  const problems: string[] = [];
  const ownKeys = [proxyPlane.key, managementPlane.key].filter((key) => key !== undefined);
  const changed: Service[] = [];
  for (const service of services) {
    const { auth, credential, key } = service;
    if (auth === undefined || credential?.path === undefined) continue;
    const reading = readTextFile(credential.path);
    const text = reading.state === "read" ? withoutTrailingNewlines(reading.text) : "";
    const allowed = text.trim() === "" ? "a file that holds a secret" : unusableSecret(text, auth, ownKeys);
    if (allowed !== undefined) {
      problems.push(`${credential.source}: found no usable secret for ${key}, allowed: ${allowed}`);
    } else if (credential.secret?.reveal() !== text) {
      changed.push({ ...service, credential: { ...credential, secret: new Secret(text) } });
    }
  }
  if (problems.length > 0) throw new ConfigProblems(problems);
  return changed;
}
