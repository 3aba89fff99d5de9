/**
 * Reads the hooks that a module exports.
 * Invariant: each member is read once; a hook that changes its object later changes nothing. A name that is nearly right is refused,
 * because its function would never be called.
 */
import type { Hook } from "./contract.ts";

/** A hook whose functions are bound to its object. What they return is checked when they are called. */
export interface LoadedHook {
  readonly name: string;
  readonly onRequest: ((...args: readonly unknown[]) => unknown) | undefined;
  readonly onResponse: ((...args: readonly unknown[]) => unknown) | undefined;
  readonly onComplete: ((...args: readonly unknown[]) => unknown) | undefined;
}

const FUNCTIONS = ["onRequest", "onResponse", "onComplete"] as const satisfies readonly (keyof Hook)[];
const NAME = /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$/;
const HOOKS_LIMIT = 64;

/** @param module its namespace. @returns the hooks, or what is wrong with them as the end of a sentence. */
export function readHooks(module: Readonly<Record<string, unknown>>): readonly LoadedHook[] | string {
  try {
    const exported = module.default ?? module.hooks ?? module;
    if (module.default !== undefined && module.hooks !== undefined) return "it exports both default and hooks";
    const list: readonly unknown[] = Array.isArray(exported) ? [...exported] : [exported];
    if (list.length === 0) return "it exports an empty list";
    if (list.length > HOOKS_LIMIT) return `it exports ${list.length} hooks, and at most ${HOOKS_LIMIT} are allowed`;
    const hooks: LoadedHook[] = [];
    for (const [index, each] of list.entries()) {
      const hook = readHook(each);
      if (typeof hook === "string") return `hook ${index + 1} of ${list.length} ${hook}`;
      if (hooks.some(({ name }) => name === hook.name)) return `two hooks have the name ${hook.name}`;
      hooks.push(hook);
    }
    return hooks;
  } catch {
    return "reading what it exports threw an error";
  }
}

function readHook(value: unknown): LoadedHook | string {
  if (typeof value !== "object" || value === null) return "is no object";
  const { name } = value as Partial<Hook>;
  if (typeof name !== "string" || !NAME.test(name)) {
    return "needs a name of 1 to 64 letters, digits and . _ - : /, beginning with a letter or digit";
  }
  const unknown = Object.keys(value).find((key) => /^on/i.test(key) && !(FUNCTIONS as readonly string[]).includes(key));
  if (unknown !== undefined) return `(${name}) has the unknown member ${unknown.slice(0, 40)}`;
  const read = { name } as { -readonly [Member in keyof LoadedHook]: LoadedHook[Member] };
  for (const member of FUNCTIONS) {
    const found: unknown = (value as Record<string, unknown>)[member];
    if (found !== undefined && typeof found !== "function")
      return `(${name}) has a member ${member} that is no function`;
    read[member] = found === undefined ? undefined : (...args) => Reflect.apply(found, value, args);
  }
  if (FUNCTIONS.every((member) => read[member] === undefined)) return `(${name}) has none of ${FUNCTIONS.join(", ")}`;
  return Object.freeze(read);
}
