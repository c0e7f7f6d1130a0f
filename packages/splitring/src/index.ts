export type { DomainConfig, HostConfig } from './host/config.ts';
export type { DomainOutcome, RunningGuest } from './host/domain.ts';
export { createHost, type Host } from './host/host.ts';
export type { UplinkState } from './host/uplink-states.ts';
