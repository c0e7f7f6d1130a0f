// The configuration of a host and its domains: plain data, checked once, with errors that say what to do.
import { SplitringError } from 'sharedarraybuffer-ring';
import { z } from 'zod';
import { parseSize } from '../size.ts';

const SECTOR_BYTES = 512;

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/, 'use 1 to 63 letters, digits, "_" or "-"');
const size = z.union([z.string(), z.number()]).transform((value, context) => {
  try {
    return parseSize(value);
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as SplitringError).message });
    return z.NEVER;
  }
});
const sectorAligned = size.refine((bytes) => bytes % SECTOR_BYTES === 0, 'must be a multiple of 512 bytes');
const mac = z
  .string()
  .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i, 'write it as 00:16:3e:00:00:01')
  .transform((text) => text.toLowerCase())
  .refine((text) => (Number.parseInt(text.slice(0, 2), 16) & 1) === 0, 'a group address cannot be a card’s own');

const disk = z.strictObject({
  /** Path of an image file, created sparse when missing; without it the disk lives in memory. */
  image: z.string().min(1).optional(),
  /** Size of a new image or of a memory disk; an existing image keeps its own. */
  size: sectorAligned.optional(),
  /** Refuse writes. */
  readonly: z.boolean().default(false),
});

const share = z.number().min(0).max(1);
const milliseconds = z.number().min(0);
const count = z.int().min(0);
/** Which frames of a cable are hit by a fault, and when; `partition` cuts the cable. */
const linkRule = z.strictObject({
  kind: z.enum(['loss', 'duplication', 'corruption', 'reordering', 'delay', 'partition']),
  from: z.enum(['near', 'far']).optional(),
  fromMs: milliseconds.optional(),
  toMs: milliseconds.optional(),
  skip: count.optional(),
  times: count.optional(),
  share: share.optional(),
  delayMs: milliseconds.optional(),
});
const queues = z.int().min(1).max(8).default(1);
/** A modelled network card, its driver and a cable on the way. */
const card = z.strictObject({
  /** Name of the card, for `functionOf`. */
  name: name.optional(),
  /** Queue pairs that the driver uses. */
  queues,
  /** What the cable does to frames: shares of them, a delay, and rules. */
  faults: z
    .strictObject({
      loss: share.optional(),
      duplication: share.optional(),
      corruption: share.optional(),
      reordering: share.optional(),
      delayMs: milliseconds.optional(),
      rules: z.array(linkRule).optional(),
    })
    .default({}),
  /** Decides which frames the faults hit. */
  seed: z.int().default(1),
});

const ipAddress = z.union([z.ipv4(), z.ipv6()], 'write an IPv4 or IPv6 address');
const vlan = z.int().min(1).max(4094);
/** Where a way out lies among the VLANs of its bridge: in one, on a trunk of all (tagged), or on the untagged network. */
const lane = { vlan: vlan.optional(), trunk: z.boolean().default(false) };
const ways = [
  z.strictObject({
    bridge: name,
    ...lane,
    /** A VXLAN network to other hosts. */
    vxlan: z.strictObject({
      vni: z.int().min(0).max(0xff_ffff),
      remotes: z.array(ipAddress).min(1),
      port: z.int().min(1).max(65_535).optional(),
      localAddress: ipAddress.optional(),
    }),
    card: card.optional(),
  }),
  /** A Unix socket where QEMU guests attach (`-netdev stream`). */
  z.strictObject({ bridge: name, ...lane, listen: z.string().min(1), card: card.optional() }),
  /** A Unix socket of passt to attach to. */
  z.strictObject({ bridge: name, ...lane, connect: z.string().min(1), card: card.optional() }),
  /** A cable to another bridge of this driver domain, with a card at each end. */
  z.strictObject({ bridge: name, ...lane, to: name, card: card.optional() }),
  /** A further function of a named card: the card's embedded switch joins its functions and its cable. */
  z.strictObject({ bridge: name, ...lane, functionOf: name, queues }),
] as const;
const uplink = z.union(ways, 'say where it leads: one of vxlan, listen, connect, to, functionOf');

const driverDomain = z.strictObject({
  name,
  disks: z.record(name, disk).default({}),
  bridges: z.array(name).default([]),
  /** Ways of its bridges out of the machine. */
  uplinks: z.array(uplink).default([]),
  /** Capture files (pcapng) by bridge. */
  captures: z.record(name, z.string().min(1)).default({}),
  /** Heap limit of the worker. */
  memory: size.optional(),
});

const guestDisk = z.strictObject({
  /** Name in the guest, `xvda` to `xvdz`. */
  name: z.string().regex(/^xvd[a-z]$/, 'use xvda to xvdz'),
  /** A disk of a driver domain. */
  from: name,
  /** Only this part of it, in bytes. */
  slice: z.strictObject({ offset: z.union([z.literal(0), sectorAligned]), size: sectorAligned }).optional(),
  /** Who talks to the device. */
  model: z.literal('split').default('split'),
  readonly: z.boolean().default(false),
  /** Tell the guest that the medium may be taken out. */
  removable: z.boolean().default(false),
  /** Requests a second that the guest may make of it. */
  iops: z.int().min(1).optional(),
  /** Bytes a second that the guest may read and write. */
  rate: size.optional(),
  /** Its share beside other guests of the same disk: twice the weight, twice the share. */
  weight: z.int().min(1).max(1000).default(1),
});

const guestNic = z.strictObject({
  bridge: name,
  mac: mac.optional(),
  /** The VLAN that the card is in, untagged for the guest; without it, the bridge's untagged network. */
  vlan: vlan.optional(),
  /** Bytes a second that the guest may send. */
  rate: size.optional(),
  /** Bytes a second of broadcasts and multicasts that it may send; more are dropped and counted. */
  groupRate: size.optional(),
});

function isCloneable(value: unknown): boolean {
  try {
    structuredClone(value);
    return true;
  } catch {
    return false;
  }
}

const domain = z.strictObject({
  name,
  /** The module whose default export is the guest program. */
  program: z.union([z.url(), z.instanceof(URL)]).transform(String),
  /** Plain data for the program: what a structured clone copies. */
  args: z.unknown().refine(isCloneable, 'a thread can be given plain data only, no functions or symbols').optional(),
  /** Names of counters that the program writes and the host reads. */
  counters: z.array(name).default([]),
  /** Heap limit of the worker. */
  memory: size.optional(),
  disks: z.array(guestDisk).default([]),
  nics: z.array(guestNic).default([]),
});

const host = z.strictObject({
  driverDomains: z.array(driverDomain).default([]),
  /**
   * Memory that domains share: a buffer for each pair of them; the same as WebAssembly memories, which Node 22 and newer
   * copy between natively; or one WebAssembly memory for all, which every Node copies within natively and which isolates
   * nobody from anybody.
   */
  extents: z
    .union([z.literal('separate'), z.literal('separate-wasm'), z.strictObject({ shared: size })])
    .default('separate'),
});

/** A checked uplink. */
export type CheckedUplink = z.output<typeof uplink>;
/** A checked card. */
export type CheckedCard = z.output<typeof card>;
/** A checked disk of a guest. */
export type CheckedDisk = z.output<typeof guestDisk>;
/** A checked card of a guest. */
export type CheckedNic = z.output<typeof guestNic>;
/** What `createHost` takes. */
export type HostConfig = z.input<typeof host>;
/** What `createDomain` takes. */
export type DomainConfig = z.input<typeof domain>;
/** A checked host configuration. */
export type CheckedHost = z.output<typeof host>;
/** A checked driver domain. */
export type CheckedDriverDomain = z.output<typeof driverDomain>;
/** A checked guest. */
export type CheckedDomain = z.output<typeof domain>;

function check<T>(what: string, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = sharpest(result.error.issues[0]);
  const path = (issue?.path ?? []).join('.');
  throw new SplitringError(
    'BAD_CONFIG',
    `Cannot ${what}: ${path === '' ? 'the configuration' : path}: ${issue?.message ?? 'is not valid'}`,
    { path },
  );
}

/** Where only one of several forms can have been meant, its own issue; else what is said of them all. */
function sharpest(issue: z.core.$ZodIssue | undefined): z.core.$ZodIssue | undefined {
  if (issue?.code !== 'invalid_union') return issue;
  const [best, second] = [...issue.errors].sort((a, b) => a.length - b.length);
  const inner = best?.[0];
  if (inner === undefined || best?.length === second?.length) return issue;
  return sharpest({ ...inner, path: [...issue.path, ...inner.path] });
}

function refuseTwice(what: string, kind: string, names: readonly string[]): void {
  const twice = names.find((one, at) => names.indexOf(one) !== at);
  if (twice === undefined) return;
  throw new SplitringError('BAD_CONFIG', `Cannot ${what}: two ${kind} are named "${twice}": rename one`, {
    name: twice,
  });
}

/** Check a host's configuration. @throws SplitringError BAD_CONFIG */
export function checkHost(value: HostConfig): CheckedHost {
  const what = 'create the host';
  const checked = check<CheckedHost>(what, host, value);
  const { driverDomains } = checked;
  refuseTwice(
    what,
    'driver domains',
    driverDomains.map((one) => one.name),
  );
  refuseTwice(
    what,
    'disks',
    driverDomains.flatMap((one) => Object.keys(one.disks)),
  );
  refuseTwice(
    what,
    'bridges',
    driverDomains.flatMap((one) => one.bridges),
  );
  return checked;
}

/** Check a guest's configuration. @throws SplitringError BAD_CONFIG */
export function checkDomain(value: DomainConfig): CheckedDomain {
  const checked = check<CheckedDomain>('create the domain', domain, value);
  refuseTwice(
    'create the domain',
    'disks',
    checked.disks.map((one) => one.name),
  );
  return checked;
}
