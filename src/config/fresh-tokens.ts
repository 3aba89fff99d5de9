/** The secrets of token files, read anew without looking at anything else: a rotated token is no new configuration. */
import { unusableSecret } from "./credentials.ts";
import { type Config, freezeConfig } from "./load-config.ts";
import { ConfigProblems } from "./problems.ts";
import { readTextFile, withoutTrailingNewlines } from "./read-file.ts";
import type { Service } from "./schema.ts";
import { Secret } from "./secret.ts";

/** The same configuration with what the token files hold now. @throws ConfigProblems for a file that holds no usable secret. */
export function withFreshTokens(config: Config): Config {
  const problems: string[] = [];
  const ownKeys = [config.proxyPlane.key, config.managementPlane.key].filter((key) => key !== undefined);
  const services = new Map<string, Service>();
  for (const [key, service] of config.services) {
    const { auth, credential } = service;
    if (auth === undefined || credential?.path === undefined) {
      services.set(key, service);
      continue;
    }
    const reading = readTextFile(credential.path);
    const text = reading.state === "read" ? withoutTrailingNewlines(reading.text) : "";
    const allowed = text.trim() === "" ? "a file that holds a secret" : unusableSecret(text, auth, ownKeys);
    if (allowed !== undefined)
      problems.push(`${credential.source}: found no usable secret for ${key}, allowed: ${allowed}`);
    services.set(key, { ...service, credential: { ...credential, secret: new Secret(text) } });
  }
  if (problems.length > 0) throw new ConfigProblems(problems);
  return freezeConfig({ ...config, services });
}
