/** Finds the API at an address, and how its secret is sent there: the same as its recipe says. */
import { isObject } from "../is-object.ts";
import { PRESETS } from "./presets.ts";
import { fillRecipe, readRecipe, recipeNames } from "./recipes.ts";
import type { ServiceInput } from "./schema.ts";

export interface KnownApi {
  readonly name: string;
  /** As in the services file. */
  readonly service: ServiceInput;
}

/** The recipe whose base URL has the same origin; undefined for an unknown API, and for one whose host each operator chooses. */
export function findKnownApi(url: URL): KnownApi | undefined {
  const names = recipeNames();
  // The built-in services come first: several recipes may have one origin.
  const inOrder = [...names.filter((name) => Object.hasOwn(PRESETS, name)), ...names];
  for (const name of inOrder) {
    const filled = fillRecipe(readRecipe(name), { inputs: new Map() });
    if ("service" in filled && new URL(filled.service.baseUrl).origin === url.origin) {
      return { name, service: filled.service };
    }
  }
  return undefined;
}

/** The same credential with its secret in another variable; undefined if it has several secrets. */
export function withVariable(auth: ServiceInput["auth"], variable: string): ServiceInput["auth"] {
  if (auth === undefined) return undefined;
  if (auth.secrets === undefined) {
    const {
      tokenFile: _file,
      nextTokenEnvVar: _nextVariable,
      nextTokenFile: _nextFile,
      tokenCommand: _command,
      tokenCommandTtlSeconds: _ttl,
      required: _required,
      ...rest
    } = auth;
    return { ...rest, tokenEnvVar: variable };
  }
  const [name = "", ...others] = isObject(auth.secrets) ? Object.keys(auth.secrets) : [];
  return others.length > 0 ? undefined : { ...auth, secrets: { [name]: { envVar: variable } } };
}
