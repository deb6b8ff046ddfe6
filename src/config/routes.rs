//! What services may not share: their names, and a host with a path prefix.

use super::reader::Node;
use crate::model::{HostPattern, PathPrefix, ServiceName};
use std::collections::HashMap;

/// What the services so far have taken.
#[derive(Default)]
pub(super) struct Routes<'t> {
    names: HashMap<ServiceName, Node<'t>>,
    routes: HashMap<(HostPattern, PathPrefix), Node<'t>>,
}

impl<'t> Routes<'t> {
    pub(super) fn claim_name(&mut self, name: &ServiceName, node: &Node<'t>) {
        if let Some(first) = self.names.get(name) {
            node.fault(format!("the service on line {} is called that too; choose another name", first.line()));
        } else {
            self.names.insert(name.clone(), node.clone());
        }
    }

    pub(super) fn claim(&mut self, host: &HostPattern, prefix: &PathPrefix, node: &Node<'t>) {
        let route = (host.clone(), prefix.clone());
        if let Some(first) = self.routes.get(&route) {
            let host = match host {
                HostPattern::Any => "every host".to_owned(),
                HostPattern::Exact(_) | HostPattern::Below(_) => format!("host {host}"),
            };
            node.fault(format!(
                "{host} with path prefix {prefix} is taken on line {} already; \
                 give one of the two another host or path_prefix",
                first.line()
            ));
        } else {
            self.routes.insert(route, node.clone());
        }
    }
}
