/** The secret that a rotation changes to, beside the secrets of a credential. */
import { type CredentialSource, type NamedSecret, nameSources } from "./credential-source.ts";
import { NEXT } from "./rotation-state.ts";

/** The secrets of the credential, and the one that a rotation changes to. */
export function splitNext(secrets: readonly NamedSecret[]): Pick<CredentialSource, "source" | "secrets" | "next"> {
  const next = secrets.find(({ name }) => name === NEXT);
  const own = secrets.filter((each) => each !== next);
  return { source: nameSources(own), secrets: own, ...(next === undefined ? {} : { next }) };
}

/** The credential with the next secret in the place of the current one; undefined without a next secret. */
export function withNext({ next, ...credential }: CredentialSource): CredentialSource | undefined {
  if (next?.secret === undefined) return undefined;
  return {
    ...credential,
    secrets: credential.secrets.map((each) => (each.name === "token" ? { ...next, name: "token" } : each)),
  };
}
