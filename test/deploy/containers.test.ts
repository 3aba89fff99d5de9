/** deploy/compose.yaml and deploy/kubernetes/: valid for their programs, and true for this gateway. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as apps from "kubernetes-models/apps/v1";
import * as autoscaling from "kubernetes-models/autoscaling/v2";
import * as networking from "kubernetes-models/networking.k8s.io/v1";
import * as policy from "kubernetes-models/policy/v1";
import * as core from "kubernetes-models/v1";
import { describe, expect, it } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { load } from "../config/temp-folder.ts";
import { startGateway } from "../support/gateway.ts";
import { KNOWN_VARIABLES, PRESET_SECRETS } from "./variables.ts";

const inRepository = (path: string) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), "utf8");

type Json = Record<string, unknown>;
interface Document extends Json {
  readonly apiVersion: string;
  readonly kind: string;
  readonly spec: Json;
}

const KINDS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  v1: core,
  "apps/v1": apps,
  "autoscaling/v2": autoscaling,
  "networking.k8s.io/v1": networking,
  "policy/v1": policy,
};

/** @throws an Error that names the member that Kubernetes would refuse. */
function validate(document: Document): void {
  const Kind = KINDS[document.apiVersion]?.[document.kind] as (new (data: unknown) => { validate(): void }) | undefined;
  if (Kind === undefined) throw new Error(`${document.apiVersion} has no kind ${document.kind}`);
  new Kind(document).validate();
}

const documentsIn = (path: string) =>
  parseAllDocuments(inRepository(path)).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Document;
  });

interface Container {
  readonly image: string;
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly securityContext: Json;
  readonly [probe: `${string}Probe`]: {
    readonly httpGet?: { readonly path: string; readonly port: string };
    readonly exec?: { readonly command: string[] };
  };
}

/** The gateway's container of a file, and its pod. */
function gatewayOf(documents: readonly Document[]) {
  const deployment = documents.find(({ kind }) => kind === "Deployment");
  const template = deployment?.spec.template as { readonly spec: Json };
  const pod = template.spec as {
    readonly initContainers?: Container[];
    readonly containers: Container[];
    readonly volumes: { name: string }[];
  };
  const container = [...(pod.initContainers ?? []), ...pod.containers].find(({ image }) => image === "byteproxy");
  if (container === undefined) throw new Error("no container runs the image byteproxy");
  return { container, pod };
}

/** The paths that the probes of a container request, over HTTP or by the image's health check. */
function probedPaths(container: Container): string[] {
  return (["startupProbe", "readinessProbe", "livenessProbe"] as const).flatMap((name) => {
    const probe = container[name];
    if (probe === undefined) return [];
    return [probe.httpGet?.path ?? probe.exec?.command.at(-1) ?? ""];
  });
}

describe.each(["sidecar", "shared"])("deploy/kubernetes/%s.yaml", (name) => {
  const documents = documentsIn(`deploy/kubernetes/${name}.yaml`);
  const { container, pod } = gatewayOf(documents);

  it("Kubernetes accepts every document", () => {
    for (const document of documents) expect(() => validate(document)).not.toThrow();
  });

  it("A document with a wrong member is refused, so the check above can fail", () => {
    const [first] = documents.filter(({ kind }) => kind === "Deployment") as [Document];
    expect(() => validate({ ...first, spec: { ...first.spec, replicas: "two" } })).toThrow(/replicas/);
  });

  it("Every variable is one of the gateway's", () => {
    expect(container.env.map((variable) => variable.name).filter((each) => !KNOWN_VARIABLES.has(each))).toEqual([]);
  });

  it("The services file in the ConfigMap is valid, and its secrets are files of a mounted volume", async () => {
    const map = documents.find(({ kind }) => kind === "ConfigMap") as Document & { data: Record<string, string> };
    const text = map.data["services.json"] as string;
    const { services } = await load({ "config/services.json": text });
    expect(services.size).toBeGreaterThan(0);
    const mounts = container.volumeMounts.map(({ mountPath }) => mountPath);
    for (const file of text.matchAll(/"tokenFile": "([^"]+)"/g)) {
      expect(mounts).toContain((file[1] as string).replace(/\/[^/]+$/, ""));
    }
  });

  it("Every mount has its volume, and only the state and the temporary files are writable", () => {
    const volumes = pod.volumes.map((volume) => volume.name);
    for (const mount of container.volumeMounts) expect(volumes).toContain(mount.name);
    expect(container.securityContext).toMatchObject({
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
    });
    expect(container.volumeMounts.filter((mount) => !("readOnly" in mount)).map((mount) => mount.mountPath)).toEqual([
      "/data",
    ]);
  });

  it("The probes request paths that respond with 200", async () => {
    const gateway = await startGateway();
    const paths = probedPaths(container);
    expect(paths.length).toBeGreaterThanOrEqual(2);
    for (const path of paths) expect((await fetch(`${gateway.url}${path}`)).status, path).toBe(200);
  });
});

it("The shared deployment scales on a metric that the gateway has", async () => {
  const documents = documentsIn("deploy/kubernetes/shared.yaml");
  const scaler = documents.find(({ kind }) => kind === "HorizontalPodAutoscaler");
  const metrics = scaler?.spec.metrics as { pods: { metric: { name: string } } }[];
  const gateway = await startGateway();
  const text = await (await fetch(`${gateway.url}/metrics`)).text();
  for (const { pods } of metrics) expect(text).toContain(`\n${pods.metric.name} `);
});

describe("deploy/compose.yaml", () => {
  const { services, secrets, volumes } = parse(inRepository("deploy/compose.yaml")) as {
    services: Record<string, { environment: Record<string, string>; secrets: string[]; volumes: string[] } & Json>;
    secrets: Json;
    volumes: Json;
  };
  const { gateway } = services as { gateway: (typeof services)[string] };

  it("Every variable is one of the gateway's or a preset's", () => {
    const names = Object.keys(gateway.environment);
    expect(names.filter((name) => !KNOWN_VARIABLES.has(name) && !PRESET_SECRETS.has(name))).toEqual([]);
  });

  it("Every secret and every named volume that the service uses is defined", () => {
    for (const secret of gateway.secrets) expect(Object.keys(secrets)).toContain(secret);
    for (const [name, value] of Object.entries(gateway.environment)) {
      if (name.endsWith("_FILE")) expect(gateway.secrets).toContain(value.replace("/run/secrets/", ""));
    }
    const named = gateway.volumes
      .map((volume) => volume.split(":")[0] as string)
      .filter((each) => !each.startsWith("."));
    expect(named).toEqual(Object.keys(volumes));
  });

  it("The container cannot write to its own files and gains no rights", () => {
    expect(gateway).toMatchObject({ read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges:true"] });
  });
});
