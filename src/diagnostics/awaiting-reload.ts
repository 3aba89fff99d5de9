/** What is on disk, and not in use before the next reload: secrets, and services that they switch on. */
import type { CredentialSource, NamedSecret } from "../config/credential-source.ts";
import { ConfigProblems } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import { type DiagnosedService, type DiagnosticsContext, isInUse } from "./check.ts";

/** For services of the file: which secrets a reload would add, replace or remove, as sentences. */
export async function secretsAwaitingReload(
  { service }: DiagnosedService,
  context: Pick<DiagnosticsContext, "load">,
): Promise<string[]> {
  const { key, source: from, credential: inUse } = service;
  if (from !== "file" && from !== "preset") return [];
  const next = await readAgain(key, context);
  if (next === undefined) return [];
  const [before, after] = [readSecrets(inUse), readSecrets(next.credential)];
  const names = new Set([...after, ...before].map(({ name }) => name));
  return [...names].flatMap((name) => {
    const [old, now] = [before, after].map((secrets) => secrets.find((each) => each.name === name));
    const [oldText, text] = [old?.secret?.reveal(), now?.secret?.reveal()];
    if (text === oldText) return [];
    return [`${(now ?? old)?.source} ${describeChange(oldText, text)}`];
  });
}

/** Without those that a login or a command obtained: they are not in the configuration. */
function readSecrets(credential: CredentialSource | undefined): NamedSecret[] {
  const { secrets = [], next } = credential ?? {};
  const all = next === undefined ? secrets : [...secrets, next];
  return all.filter(({ login, command }) => !login && command === undefined);
}

function describeChange(old: string | undefined, now: string | undefined): string {
  if (now === undefined) return "is no longer set, but its old secret is still in use";
  return old === undefined ? "is set now, but its secret is not in use yet" : "has a new secret that is not in use yet";
}

/** The service as a reload would load it. Undefined if the reload would be refused: the check `config` reports that. */
async function readAgain(key: string, { load }: Pick<DiagnosticsContext, "load">): Promise<Service | undefined> {
  try {
    return (await load()).services.get(key);
  } catch (error) {
    if (error instanceof ConfigProblems) return undefined;
    throw error;
  }
}

/** A built-in service that is not in use, but will be after the next reload: its credential is on disk now. */
export async function awaitsReload(
  { service }: DiagnosedService,
  context: Pick<DiagnosticsContext, "load">,
): Promise<boolean> {
  try {
    const next = await readAgain(service.key, context);
    return !isInUse(service) && next !== undefined && isInUse(next);
  } catch {
    // The checks that read the configuration report this error.
    return false;
  }
}
