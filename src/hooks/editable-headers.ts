/**
 * The headers of a message as a hook sees and changes them.
 * Invariant: each change is checked when it is made, so that no hook can write a line break, framing or a header of the gateway's own;
 * and a hook that keeps the object can neither change nor see the message after its step.
 */
import { validateHeaderName, validateHeaderValue } from "node:http";
import type { HookHeaders } from "./contract.ts";

export interface HeaderRules {
  /** Why hooks may not change this header; undefined where they may. @param name in lower case, with `-` for `_` and without `-` at its ends. */
  readonly fault: (name: string) => string | undefined;
  /** Why this value may not be sent; undefined where it may. */
  readonly valueFault: (value: string) => string | undefined;
  /** The value as a hook may see it. */
  readonly show: (lowerCaseName: string, value: string) => string;
}

export class EditableHeaders {
  /** What the hook gets: its methods cannot be replaced. */
  readonly view: HookHeaders;
  isChanged = false;
  #fields: readonly string[];
  #isSealed = false;
  readonly #rules: HeaderRules;

  /** @param fields a flat list of names and values. It is copied: the gateway adds the credential to its own list later. */
  constructor(fields: readonly string[], rules: HeaderRules) {
    this.#fields = [...fields];
    this.#rules = rules;
    this.view = this.#createView();
  }

  /** A flat list. From now on a change throws. */
  seal(): readonly string[] {
    this.#isSealed = true;
    return this.#fields;
  }

  #createView(): HookHeaders {
    const values = (name: string) => this.#values(lowerCaseOf(name));
    const entries = () => this.#entries();
    return Object.freeze({
      get: (name: string) => (values(name).length === 0 ? undefined : values(name).join(", ")),
      getAll: values,
      has: (name: string) => values(name).length > 0,
      set: (name: string, value: string) => this.#change(name, value, true),
      append: (name: string, value: string) => this.#change(name, value, false),
      delete: (name: string) => this.#delete(name),
      [Symbol.iterator]: () => entries()[Symbol.iterator](),
    });
  }

  #values(lowerCaseName: string): string[] {
    return this.#entries().flatMap(([name, value]) => (name.toLowerCase() === lowerCaseName ? [value] : []));
  }

  #entries(): (readonly [string, string])[] {
    const { show } = this.#rules;
    return this.#fields.flatMap((name, i) =>
      i % 2 === 0 ? [[name, show(name.toLowerCase(), this.#fields[i + 1] as string)] as const] : [],
    );
  }

  /** @throws TypeError */
  #change(name: string, value: string, replaces: boolean): void {
    const lowerCaseName = this.#checkName(name);
    if (typeof value !== "string") {
      throw new TypeError(`The value of the header ${lowerCaseName} must be a string, not ${typeOf(value)}.`);
    }
    validateHeaderValue(lowerCaseName, value);
    const problem = this.#rules.valueFault(value);
    if (problem !== undefined) throw new TypeError(`The value of the header ${lowerCaseName} ${problem}.`);
    this.#fields = [...(replaces ? this.#without(lowerCaseName) : this.#fields), name, value];
    this.isChanged = true;
  }

  /** @throws TypeError for a header that hooks may not change. */
  #delete(name: string): void {
    if (this.#values(lowerCaseOf(name)).length === 0) return;
    this.#fields = this.#without(this.#checkName(name));
    this.isChanged = true;
  }

  /** @returns the name in lower case. @throws TypeError */
  #checkName(name: string): string {
    const lowerCaseName = lowerCaseOf(name);
    if (this.#isSealed) throw new TypeError("The headers can no longer be changed: this step of the exchange is over.");
    validateHeaderName(name);
    // Some servers read `X_Name` and `X-Name_` as `X-Name`.
    const fault = this.#rules.fault(lowerCaseName.replaceAll("_", "-").replace(/^-+|-+$/g, ""));
    if (fault !== undefined) throw new TypeError(`The header ${lowerCaseName} cannot be changed by a hook: ${fault}.`);
    return lowerCaseName;
  }

  #without(lowerCaseName: string): string[] {
    return this.#fields.filter((_, i) => (this.#fields[i - (i % 2)] as string).toLowerCase() !== lowerCaseName);
  }
}

/** @throws TypeError for a name that is no text. */
function lowerCaseOf(name: unknown): string {
  if (typeof name !== "string") throw new TypeError(`The name of a header must be a string, not ${typeOf(name)}.`);
  return name.toLowerCase();
}

/** For messages: also `null`. */
export function typeOf(value: unknown): string {
  return value === null ? "null" : typeof value;
}
