//! Consumer groups: who is in them and who coordinates them.

use bytes::Bytes;

use crate::message::messages;

messages! {
    /// Asks who coordinates groups (type 0) or transactional ids (type 1).
    message FindCoordinatorRequest 0..=6, flexible 3.. {
        key: String, ..=3;
        key_type: i8, 1..;
        coordinator_keys: Vec<String>, 4..;
    }

    /// Who coordinates: one answer up to version 3, many from 4.
    message FindCoordinatorResponse 0..=6, flexible 3.. {
        throttle_time_ms: i32, 1..;
        error_code: i16, ..=3;
        error_message: Option<String>, 1..=3;
        node_id: i32, ..=3;
        host: String, ..=3;
        port: i32, ..=3;
        coordinators: Vec<Coordinator>, 4..;
    }

    /// Who coordinates one key.
    part Coordinator {
        key: String, 4..;
        node_id: i32, 4..;
        host: String, 4..;
        port: i32, 4..;
        error_code: i16, 4..;
        error_message: Option<String>, 4..;
    }

    /// A member asks to be in the next generation of its group.
    message JoinGroupRequest 0..=9, flexible 6.. {
        group_id: String, ..;
        session_timeout_ms: i32, ..;
        rebalance_timeout_ms: i32, 1.., default -1;
        member_id: String, ..;
        group_instance_id: Option<String>, 5..;
        protocol_type: String, ..;
        protocols: Vec<JoinGroupRequestProtocol>, ..;
        reason: Option<String>, 8..;
    }

    /// An assignment strategy that the member knows, and its metadata.
    part JoinGroupRequestProtocol {
        name: String, ..;
        metadata: Bytes, ..;
    }

    /// The generation; its leader learns the members and divides the partitions.
    message JoinGroupResponse 0..=9, flexible 6.. {
        throttle_time_ms: i32, 2..;
        error_code: i16, ..;
        generation_id: i32, .., default -1;
        protocol_type: Option<String>, 7..;
        protocol_name: Option<String>, .., null 7..;
        leader: String, ..;
        skip_assignment: bool, 9..;
        member_id: String, ..;
        members: Vec<JoinGroupResponseMember>, ..;
    }

    /// A member as its leader sees it.
    part JoinGroupResponseMember {
        member_id: String, ..;
        group_instance_id: Option<String>, 5..;
        metadata: Bytes, ..;
    }

    /// A member is still there.
    message HeartbeatRequest 0..=4, flexible 4.. {
        group_id: String, ..;
        generation_id: i32, ..;
        member_id: String, ..;
        group_instance_id: Option<String>, 3..;
    }

    /// Whether the generation still stands.
    message HeartbeatResponse 0..=4, flexible 4.. {
        throttle_time_ms: i32, 1..;
        error_code: i16, ..;
    }

    /// Members leave: the sender up to version 2, a list from 3.
    message LeaveGroupRequest 0..=5, flexible 4.. {
        group_id: String, ..;
        member_id: String, ..=2;
        members: Vec<MemberIdentity>, 3..;
    }

    /// Who leaves.
    part MemberIdentity {
        member_id: String, 3..;
        group_instance_id: Option<String>, 3..;
        reason: Option<String>, 5..;
    }

    /// Who has left.
    message LeaveGroupResponse 0..=5, flexible 4.. {
        throttle_time_ms: i32, 1..;
        error_code: i16, ..;
        members: Vec<MemberResponse>, 3..;
    }

    /// What became of one member that leaves.
    part MemberResponse {
        member_id: String, 3..;
        group_instance_id: Option<String>, 3..;
        error_code: i16, 3..;
    }

    /// The leader brings the assignments, the others ask for theirs.
    message SyncGroupRequest 0..=5, flexible 4.. {
        group_id: String, ..;
        generation_id: i32, ..;
        member_id: String, ..;
        group_instance_id: Option<String>, 3..;
        protocol_type: Option<String>, 5..;
        protocol_name: Option<String>, 5..;
        assignments: Vec<SyncGroupRequestAssignment>, ..;
    }

    /// What one member shall consume.
    part SyncGroupRequestAssignment {
        member_id: String, ..;
        assignment: Bytes, ..;
    }

    /// What the member shall consume.
    message SyncGroupResponse 0..=5, flexible 4.. {
        throttle_time_ms: i32, 1..;
        error_code: i16, ..;
        protocol_type: Option<String>, 5..;
        protocol_name: Option<String>, 5..;
        assignment: Bytes, ..;
    }

    /// Asks for groups by name.
    message DescribeGroupsRequest 0..=6, flexible 5.. {
        groups: Vec<String>, ..;
        include_authorized_operations: bool, 3..;
    }

    /// Groups and their members.
    message DescribeGroupsResponse 0..=6, flexible 5.. {
        throttle_time_ms: i32, 1..;
        groups: Vec<DescribedGroup>, ..;
    }

    /// A group, or why there is none.
    part DescribedGroup {
        error_code: i16, ..;
        error_message: Option<String>, 6..;
        group_id: String, ..;
        group_state: String, ..;
        protocol_type: String, ..;
        protocol_data: String, ..;
        members: Vec<DescribedGroupMember>, ..;
        authorized_operations: i32, 3.., default i32::MIN;
    }

    /// A member of a described group.
    part DescribedGroupMember {
        member_id: String, ..;
        group_instance_id: Option<String>, 4..;
        client_id: String, ..;
        client_host: String, ..;
        member_metadata: Bytes, ..;
        member_assignment: Bytes, ..;
    }

    /// Asks for all groups, by state or type.
    message ListGroupsRequest 0..=5, flexible 3.. {
        states_filter: Vec<String>, 4..;
        types_filter: Vec<String>, 5..;
    }

    /// All groups.
    message ListGroupsResponse 0..=5, flexible 3.. {
        throttle_time_ms: i32, 1..;
        error_code: i16, ..;
        groups: Vec<ListedGroup>, ..;
    }

    /// A group in the list.
    part ListedGroup {
        group_id: String, ..;
        protocol_type: String, ..;
        group_state: String, 4..;
        group_type: String, 5..;
    }

    /// Groups to delete.
    message DeleteGroupsRequest 0..=2, flexible 2.. {
        groups_names: Vec<String>, ..;
    }

    /// What became of each group.
    message DeleteGroupsResponse 0..=2, flexible 2.. {
        throttle_time_ms: i32, ..;
        results: Vec<DeletableGroupResult>, ..;
    }

    /// What became of one group.
    part DeletableGroupResult {
        group_id: String, ..;
        error_code: i16, ..;
    }
}
