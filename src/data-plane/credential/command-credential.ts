/**
 * Credentials with a secret that a command prints: all that is injected is computed once for each new secret.
 * Invariant: every mask knows a secret before it is sent, and as long as it may come back; the source id stays the same, so a renewed
 * secret spends the same quota.
 */
import type { AuthDefinition } from "../../config/auth-schema.ts";
import type { CredentialSource, NamedSecret } from "../../config/credential-source.ts";
import { type Placement, placementsOf } from "../../config/placements.ts";
import type { Service } from "../../config/schema.ts";
import { Secret } from "../../config/secret.ts";
import { readSecretForm } from "../../config/secret-form.ts";
import { secretsOfService } from "../../config/service-secrets.ts";
import { NO_OWN_KEY, textsIn, unusableSecret } from "../../config/unusable-secret.ts";
import type { CommandSecret } from "./command-secret.ts";
import type { CommandSecrets } from "./command-secrets.ts";
import {
  type CredentialPlace,
  type CredentialProvider,
  type Injection,
  type MissingCredential,
  NOTHING,
  unavailableCredential,
} from "./credential-provider.ts";
import { describePlaces, fillPlaces } from "./fill-places.ts";

export interface CommandCredentialContext {
  readonly commands: CommandSecrets;
  /** Turns a text into a name that does not reveal it. */
  readonly nameSource: (text: string) => string;
  /** A command must not print a key of the gateway. */
  readonly isOwnKey: (text: string) => boolean;
  /** Called before new secrets are used, with all that may come back now. @param owner keeps only these. */
  readonly keepSecrets: (owner: object, secrets: readonly string[]) => void;
}

/** A service whose secrets are all there, or printed by a command. */
export type CommandedService = Pick<
  Service,
  "key" | "auth" | "credential" | "signingSecret" | "baseUrl" | "versionedBaseUrls" | "ws"
> & {
  readonly auth: AuthDefinition;
  readonly credential: CredentialSource;
};

interface Part {
  readonly named: NamedSecret;
  /** Undefined for a secret of the configuration. */
  readonly held: ReturnType<CommandSecrets["acquire"]> | undefined;
}

interface Built {
  /** As the commands printed them. */
  readonly texts: readonly string[];
  readonly injection: Injection;
  /** None of them may be a key of the gateway, which a reload may change. */
  readonly sent: readonly string[];
  /** Why the texts cannot be sent, as "a secret that …". */
  readonly allowed: string | undefined;
}

export class CommandCredential implements CredentialProvider {
  readonly places: readonly CredentialPlace[];
  readonly sourceId: string;
  readonly #service: CommandedService;
  readonly #context: CommandCredentialContext;
  readonly #placements: readonly Placement[];
  readonly #parts: readonly Part[];
  /** Of the parts with a command. */
  readonly #commands: readonly CommandSecret[];
  #built: Built | undefined;
  #secrets: readonly string[];

  constructor(service: CommandedService, context: CommandCredentialContext) {
    const { auth, credential, ws } = service;
    this.#service = service;
    this.#context = context;
    this.#placements = placementsOf(auth, ws);
    this.places = describePlaces(this.#placements);
    const identity = credential.secrets.map(({ name, command, secret }) => [name, command?.argv, secret?.reveal()]);
    this.sourceId = context.nameSource(JSON.stringify(identity));
    this.#parts = credential.secrets.map((named) => ({
      named,
      held: named.command && context.commands.acquire(named.command),
    }));
    this.#commands = this.#parts.flatMap(({ held }) => held?.secret ?? []);
    this.#secrets = secretsOfService(service);
  }

  get missing(): MissingCredential | undefined {
    const reason = this.#commands.map(({ unavailable }) => unavailable).find((each) => each !== undefined);
    return reason === undefined ? undefined : this.#describeFailure(reason);
  }

  get(): Injection | Promise<Injection> {
    const obtained = this.#commands.map((command) => command.get());
    return obtained.some((text) => text instanceof Promise)
      ? Promise.all(obtained).then((texts) => this.#injectionOf(texts))
      : this.#injectionOf(obtained as readonly (string | undefined)[]);
  }

  isPending(): boolean {
    return this.#commands.some((command) => command.isPending);
  }

  renew(refused: Injection): Promise<void> | undefined {
    const built = this.#built;
    if (refused === NOTHING) return undefined;
    // Another request has renewed it.
    if (built?.injection !== refused) return Promise.resolve();
    const renewals = this.#commands.flatMap((command, at) => command.renew(built.texts[at] as string) ?? []);
    return renewals.length === 0 ? undefined : Promise.all(renewals).then(() => {});
  }

  async refresh(): Promise<string | undefined> {
    await Promise.all(this.#commands.map((command) => command.refresh()));
    const failed = this.#commands.find((command) => command.describe().failure !== undefined);
    return failed && `the command that prints it ${failed.describe().failure}`;
  }

  readonly secrets = (): readonly string[] => this.#secrets;

  describe(): CredentialSource {
    return this.#withTexts((command) => command.text);
  }

  close(): void {
    for (const { held } of this.#parts) held?.release();
  }

  /** @param printed undefined for a command without a secret. */
  #injectionOf(printed: readonly (string | undefined)[]): Injection {
    const built = this.#built;
    if (built !== undefined && printed.every((text, at) => text === built.texts[at])) return this.#checked(built);
    const texts = printed.filter((text) => text !== undefined);
    if (texts.length < printed.length) {
      const at = printed.indexOf(undefined);
      return this.#without(this.#commands[at]?.describe().failure ?? "was ended");
    }
    this.#built = this.#build(texts);
    return this.#checked(this.#built);
  }

  #checked({ injection, allowed, sent }: Built): Injection {
    const isOwnKey = sent.some(this.#context.isOwnKey);
    const problem = isOwnKey ? NO_OWN_KEY : allowed;
    return problem === undefined ? injection : this.#without(`printed something other than ${problem}`);
  }

  /** @throws GatewayError where the credential is required. */
  #without(reason: string): Injection {
    const missing = this.#describeFailure(reason);
    if (missing.isRequired) throw unavailableCredential(this.#service.key, missing);
    return NOTHING;
  }

  #describeFailure(reason: string): MissingCredential {
    const { auth, key } = this.#service;
    return {
      isRequired: auth.required,
      isUnavailable: true,
      message: `the command that prints it ${reason}.`,
      hint: `It runs again by itself. The log and the check credential:${key} of /manage/diagnostics show operators its state.`,
    };
  }

  #build(texts: readonly string[]): Built {
    const { auth } = this.#service;
    const read = this.#withTexts((command) => texts[this.#commands.indexOf(command)]).secrets;
    const forms = read.map(({ name, secret }) => ({ name, text: secret?.reveal() ?? "" }));
    const allowed = forms
      .map(({ name, text }) => this.#findUnusable(text, name, auth))
      .find((each) => each !== undefined);
    this.#keepSecrets();
    const injection = fillPlaces(this.#placements, new Map(forms.map(({ name, text }) => [name, text])), auth.sign);
    return { texts, injection, sent: forms.flatMap(({ text }) => textsIn(text, auth)), allowed };
  }

  #findUnusable(text: string, name: string, auth: AuthDefinition): string | undefined {
    if (text === "") return "a secret after its scheme";
    return unusableSecret({ text, name, auth }, []);
  }

  /** Of the commands' current secrets and those before them. */
  #keepSecrets(): void {
    const depth = Math.max(...this.#commands.map(({ recent }) => recent.length));
    const all = new Set<string>();
    for (let age = 0; age < depth; age++) {
      const credential = this.#withTexts(({ recent }) => recent[Math.min(age, recent.length - 1)]);
      for (const secret of secretsOfService({ ...this.#service, credential })) all.add(secret);
    }
    this.#secrets = [...all];
    this.#context.keepSecrets(this, this.#secrets);
  }

  /** The credential with secrets instead of commands, without their schemes. */
  #withTexts(textOf: (command: CommandSecret) => string | undefined): CredentialSource {
    const { auth, credential } = this.#service;
    const secrets = this.#parts.map(({ named, held }): NamedSecret => {
      if (held === undefined) return named;
      const run = held.secret.describe();
      const printed = textOf(held.secret);
      if (printed === undefined) return { ...named, run };
      const { text, faults } = readSecretForm(printed, auth, named.name);
      return { ...named, run, secret: new Secret(text), faults };
    });
    return { ...credential, secrets };
  }
}
