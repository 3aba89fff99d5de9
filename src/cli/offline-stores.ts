/**
 * `--offline`: changes the stores in DATA_DIR without a gateway, with the same checks and audit as over REST.
 * Invariant: DATA_DIR is locked while its stores are open. A refusal has the words of a gateway, as CliFailure.
 */
import { randomUUID } from "node:crypto";
import { type Audit, createAudit } from "../callers/audit.ts";
import { isStoredKey, maskIssuedKeys } from "../callers/issued-key.ts";
import { createIssuedKeys, type Issued, type ListedKey } from "../callers/issued-keys.ts";
import { createKeyChanges } from "../callers/key-changes.ts";
import type { GatewayStores } from "../composition/gateway-options.ts";
import { findForbidden } from "../composition/upstreams.ts";
import { type Config, loadConfig } from "../config/load-config.ts";
import { loginBinding, textsBesideLogin, unusableLogin } from "../config/login-binding.ts";
import type { Service } from "../config/schema.ts";
import { secretsOfService } from "../config/service-secrets.ts";
import { NO_OWN_KEY } from "../config/unusable-secret.ts";
import type { LoginToken } from "../data-plane/credential/credential-provider.ts";
import { GatewayError } from "../errors.ts";
import { createServiceChanges, type ServiceChanges } from "../services/changes.ts";
import type { ServiceItem } from "../services/items.ts";
import { createRegistry } from "../services/registry.ts";
import { isStoredService } from "../services/stored-services.ts";
import { checkDataDir } from "../start/check-data-dir.ts";
import { nextListeners } from "../start/read-configuration.ts";
import { startFailure } from "../start/start-failure.ts";
import { DataDirInUse, lockDataDir } from "../stores/data-dir-lock.ts";
import { openFileStores } from "../stores/open-stores.ts";
import { createSecretMask } from "../telemetry/redact.ts";
import { CliFailure, createRefusal } from "./cli-failure.ts";
import type { Backend } from "./gateway-client.ts";
import { printNote } from "./output.ts";

export interface KeyList {
  readonly keys: readonly ListedKey[];
  readonly count: number;
}

/** With the key itself, which is shown only once. */
export type NewKey = ListedKey & Pick<Issued, "key"> & { readonly warnings?: readonly string[] };

/** Issued keys, of a running gateway or of DATA_DIR. All methods throw CliFailure. */
export interface KeyBackend extends Backend {
  list(): Promise<KeyList>;
  /** @param wanted the body of `POST /manage/keys`. */
  create(wanted: unknown): Promise<NewKey>;
  rotate(id: string, wanted: unknown): Promise<NewKey>;
  revoke(id: string): Promise<void>;
}

/** @throws CliFailure */
export async function openOfflineKeys(): Promise<KeyBackend> {
  const { stores, audit, close } = await openOfflineStores();
  const issuedKeys = createIssuedKeys({ records: stores.keys, usage: stores.keyUsage });
  const changes = createKeyChanges(issuedKeys, audit);
  return {
    async list() {
      const keys = await changes.list();
      return { keys, count: keys.length };
    },
    create: (wanted) =>
      explainRefusals(async () => {
        const { key, item } = await changes.create(wanted, AUTHOR);
        return { ...item, key };
      }),
    rotate: (id, wanted) =>
      explainRefusals(async () => {
        const { key, item } = await changes.rotate(id, wanted, AUTHOR);
        return { ...item, key };
      }),
    revoke: (id) => explainRefusals(() => changes.revoke(id, AUTHOR)),
    async close() {
      issuedKeys.close();
      await close();
    },
  };
}

export interface ServiceList {
  readonly services: readonly ServiceItem[];
  readonly count: number;
}

/** Services, of a running gateway or of DATA_DIR. All methods throw CliFailure. */
export interface ServiceBackend extends Backend {
  list(): Promise<ServiceList>;
  add(key: string, config: unknown): Promise<ServiceItem>;
  show(key: string): Promise<ServiceItem>;
  /** @param patch a merge patch (RFC 7396). */
  update(key: string, patch: unknown): Promise<ServiceItem>;
  /** Resolves to the removed service. */
  remove(key: string): Promise<ServiceItem>;
}

const UNCONDITIONALLY = { ifMatch: undefined, ifNoneMatch: undefined };

/** @throws CliFailure */
export async function openOfflineServices(): Promise<ServiceBackend> {
  const { config, stores, audit, close } = await openOfflineStores();
  const changes = createOfflineChanges(config, stores, audit);
  return {
    close,
    async list() {
      const services = await changes.list();
      return { services, count: services.length };
    },
    add: (key, config) => explainRefusals(() => changes.create(key, config, AUTHOR)),
    show: (key) => explainRefusals(async () => changes.read(key)),
    update: (key, patch) => explainRefusals(() => changes.patch(key, patch, AUTHOR, UNCONDITIONALLY)),
    remove: (key) =>
      explainRefusals(async () => {
        const item = changes.read(key);
        await changes.remove(key, AUTHOR, UNCONDITIONALLY);
        return item;
      }),
  };
}

/** What a login obtained, in DATA_DIR. */
export interface LoginBackend extends Backend {
  /** For the next start. @throws CliFailure */
  store(key: string, login: LoginToken): Promise<void>;
}

/** @throws CliFailure */
export async function openOfflineLogins(): Promise<LoginBackend> {
  const offline = await openOfflineStores("name its address with --url");
  return {
    close: offline.close,
    store: (key, login) =>
      storeLogin(key, login, offline).catch((error: NodeJS.ErrnoException) => {
        if (error instanceof CliFailure) throw error;
        throw new CliFailure(1, [`The login could not be stored in DATA_DIR (${error.code}). Log in again.`]);
      }),
  };
}

async function storeLogin(
  key: string,
  { token, isAccessToken, scope }: LoginToken,
  { config, stores, audit }: OfflineStores,
): Promise<void> {
  const { service } = servicesOf(config, stores).get(key) ?? {};
  const secrets = service?.credential && textsBesideLogin(service.credential);
  if (service?.auth === undefined || secrets === undefined) throw new CliFailure(2, [`${key} has no login.`]);
  const ownKeys = [config.proxyPlane.key, config.managementPlane.key].flatMap((own) => own?.reveal() ?? []);
  const isOwnKey = ownKeys.includes(token) || maskIssuedKeys(token) !== token;
  const allowed = isOwnKey ? NO_OWN_KEY : unusableLogin(token, isAccessToken);
  if (allowed !== undefined) throw new CliFailure(1, [`The token of the login cannot be used, allowed: ${allowed}.`]);
  const id = stores.fingerprint.quota(loginBinding({ ...service, auth: service.auth }, secrets));
  const kind = isAccessToken ? ({ isAccessToken: true, scope } as const) : {};
  await stores.credentials.put(id, { service: key, token, login: { id: randomUUID(), ...kind } });
  const after = { kind: isAccessToken ? "access token" : "refresh token" };
  await audit.record(AUTHOR, { action: "credential.login", subject: key, after });
}

function createOfflineChanges(config: Config, stores: GatewayStores, audit: Audit): ServiceChanges {
  const { settings } = config;
  return createServiceChanges({
    config: () => config,
    registry: () => createRegistry(servicesOf(config, stores), ({ service }) => service),
    stored: stores.services,
    fingerprint: stores.fingerprint,
    // A command makes only one change.
    runExclusive: (change) => change(),
    findForbidden: (service) => findForbidden(service, { settings, ownListeners: () => nextListeners(config) }),
    audit,
    // Nothing listens: the next start opens the ports.
    openPort: async () => {},
    closeUnusedPorts() {},
  });
}

/**
 * The services that the next start would serve. A stored service that is not valid any more must not stop a command: removing it
 * is how the operator repairs the gateway.
 */
function servicesOf(config: Config, { services: stored }: GatewayStores) {
  const services = new Map<string, { readonly service: Service }>();
  for (const [key, service] of config.services) services.set(key, { service });
  for (const [key, { value }] of stored.entries) {
    const reading = config.readRuntimeService(key, value.config);
    if ("problems" in reading) services.delete(key);
    else services.set(key, { service: reading.service });
  }
  return services;
}

/** Another process has DATA_DIR. */
export class FolderInUse extends CliFailure {}

/** The author of offline changes in the audit. */
const AUTHOR = { caller: "command line", address: "", requestId: "" };

interface OfflineStores {
  readonly config: Config;
  readonly stores: GatewayStores;
  readonly audit: Audit;
  /** Completes pending writes and unlocks DATA_DIR. */
  close(): Promise<void>;
}

/** @throws CliFailure */
async function openOfflineStores(advice = "omit --offline, or stop the gateway first"): Promise<OfflineStores> {
  try {
    // A start on a public address requires a key, and this command may be about to create it.
    const config = await loadConfig({ hasIssuedKey: () => true });
    const folder = config.settings.DATA_DIR;
    for (const warning of checkDataDir(folder)) printNote(warning);
    const lock = await lockDataDir(folder);
    const opening: Promise<GatewayStores> = openFileStores(folder, isStoredService, isStoredKey);
    const stores = await opening.catch(async (error: unknown) => {
      await lock.release();
      throw error;
    });
    return {
      config,
      stores,
      audit: createOfflineAudit(config, stores),
      async close() {
        await stores.close();
        await lock.release();
      },
    };
  } catch (error) {
    throw explainFailure(error, advice);
  }
}

function createOfflineAudit({ services, proxyPlane, managementPlane }: Config, stores: GatewayStores): Audit {
  const keys = [proxyPlane.key, managementPlane.key].flatMap((key) => key?.reveal() ?? []);
  return createAudit(
    stores.audit,
    { info() {}, error: () => printNote("The change was made, but it could not be written to the audit.") },
    createSecretMask([...keys, ...[...services.values()].flatMap(secretsOfService)]),
  );
}

function explainFailure(error: unknown, advice: string): unknown {
  if (!(error instanceof DataDirInUse)) return startFailure(error);
  const reason = `DATA_DIR ${error.path} is in use by a running gateway (process ${error.pid}): ${advice}.`;
  return new FolderInUse(1, [reason]);
}

/** @throws CliFailure instead of a GatewayError. */
async function explainRefusals<T>(change: () => Promise<T>): Promise<T> {
  try {
    return await change();
  } catch (error) {
    throw error instanceof GatewayError ? refusalOf(error) : error;
  }
}

/** In the form of a gateway's response. */
function refusalOf({ code, title, message, status, hint: usual, extra, cause }: GatewayError): CliFailure {
  const reason = (cause as NodeJS.ErrnoException | undefined)?.code;
  const hint = code === "INTERNAL_ERROR" ? `Check the free space and permissions of DATA_DIR (${reason}).` : usual;
  const { details } = extra as { readonly details?: unknown };
  return createRefusal({ code, message, hint, details }, { error: title, message, code, status, hint, ...extra });
}
