// Wire formats: the public contract that neither end owns. xen/include/public/io
export { XenbusState, type XenbusStateValue } from './xenbus-state.ts';
