//! The admin door, asked as clients ask it.

mod alarms;
mod fail_over;
mod handover;
mod links;
mod metrics;
mod rows;
mod world;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use world::World;

#[tokio::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let world = World::new().await;
    world.rows("stream/create?path=/a&creator=ann").await;
    world.rows("stream/topic/create?path=/a&topic=b.c").await;
    let replica = "stream/replica/add?path=/a&replica=/mapr/newyork/a";
    for slot in 0..64 {
        world.rows(&format!("{replica}{slot}")).await;
        world.rows(&format!("stream/upstream/add?path=/a&upstream=/mapr/boston/a{slot}")).await;
    }
    let refusals = [
        ("stream/nonsense", 22, "there is no command `stream nonsense`"),
        ("stream/create?path=/b&tll=5", 22, "did you mean -ttl?"),
        ("stream/create", 22, "needs -path"),
        ("stream/create?path=/a", 17, "/a is already a stream"),
        ("stream/create?path=/a/../b", 22, "\"..\" is not a part of a stream's path"),
        ("stream/create?path=b", 22, "starts with '/'"),
        ("stream/create?path=/b&ttl=soon", 22, "-ttl is a whole number"),
        ("stream/create?path=/b&produceperm=p%20%7C%20u:x", 22, "give p alone"),
        ("stream/create?path=/a/b", 1, "two meanings"),
        ("stream/create?path=/mapr/newyork/b", 22, "ask newyork"),
        ("stream/create?path=/b&cluster=newyork", 22, "ask newyork"),
        ("stream/create?path=/b&copymetafrom=/c", 2, "/c is not a valid stream"),
        ("stream/create?path=/b&copymetafrom=/mapr/newyork/c", 95, "use the command line"),
        ("stream/info?path=/missing", 2, "/missing is not a valid stream"),
        ("stream/delete?path=/missing", 2, "is not a valid stream"),
        ("stream/topic/create?path=/a&topic=b.c", 17, "already in /a"),
        ("stream/topic/create?path=/a&topic=x&partitions=5000", 22, "1 to 4096"),
        ("stream/topic/edit?path=/a&topic=nope&partitions=2", 2, "is not a topic of /a"),
        ("stream/cursor/list?path=/a&partition=1", 22, "-partition needs -topic"),
        ("stream/cursor/delete?path=/a&consumergroup=x", 2, "no such cursor"),
        ("stream/replica/add?path=/a&replica=/a", 22, "cannot be replicated to itself"),
        ("stream/replica/add?path=/a&replica=/missing", 2, "/missing is not a valid stream"),
        ("stream/replica/add?path=/a&replica=/mapr/newyork/nowhere", 2, "is not a valid stream"),
        ("stream/upstream/add?path=/a&upstream=/mapr/newyork/nowhere", 2, "is not a valid stream"),
        ("stream/replica/add?path=/a&replica=/mapr/newyork/a64", 122, "64 replicas"),
        ("stream/replica/add?path=/a&replica=/mapr/newyork/a7", 17, "already a replica"),
        ("stream/replica/remove?path=/a&replica=/mapr/x/a", 2, "is not a replica of /a"),
        // It may be read and pasted where another cluster is the default.
        ("stream/replica/check?path=/a&replica=/mapr/x/a", 2, "-path /mapr/sanfrancisco/a`"),
        (
            "stream/replica/edit?path=/a&replica=/mapr/newyork/a1&synctimeout=9",
            22,
            "100 to 3600000",
        ),
        ("stream/replica/autosetup?path=/a&replica=/mapr/newyork/z", 22, "use the command line"),
        ("stream/upstream/add?path=/a&upstream=/mapr/boston/b", 122, "64 upstreams"),
        ("stream/upstream/add?path=/a&upstream=/mapr/sanfrancisco/a", 22, "itself"),
        ("stream/upstream/remove?path=/a&upstream=/mapr/x/a", 2, "is not an upstream of /a"),
        ("cluster/gateway/get?dstcluster=newyork", 2, "no gateways are set"),
        ("cluster/gateway/set?dstcluster=newyork&gateways=http://x/", 22, "give host"),
        ("cluster/gateway/set?dstcluster=newyork&gateways=gw1%20gw2:99999", 22, "1 to 65535"),
        ("cluster/gateway/set?dstcluster=newyork&gateways=gw1:", 22, "1 to 65535"),
        ("cluster/gateway/resolve?dstcluster=boston", 113, "no gateway of cluster boston"),
        ("stream/copy/status?job=7", 22, "is not a uuid"),
    ];
    for (what, errno, says) in refusals {
        let (id, text) = world.refusal(what).await;
        assert!(text.contains(says), "{what}: {text}");
        assert_eq!(id, errno, "{what}: {text}");
    }
}

#[tokio::test]
async fn pages_in_a_browser_are_not_listened_to() {
    let world = World::new().await;
    let from = |name: &str, value: &str| {
        let request = Request::post("/rest/stream/create?path=/a").header(name, value);
        request.body(Body::empty()).unwrap()
    };
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("host", "evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let request = from(name, value);
        let (status, answer) = world.request(request).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(answer["errors"][0]["id"], 13);
    }
    assert_eq!(world.engine.catalog().streams().count(), 0);
    for host in ["127.0.0.1:8443", "localhost:8443", "[::1]:8443"] {
        let (status, _) = world.request(from("host", host)).await;
        assert_eq!(status, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn a_form_and_a_query_do_the_same() {
    let world = World::new().await;
    let perm = "u%3Aann+%7C+g%3Aqa";
    let answer = world.post_form("stream/create", &format!("path=%2Fa&produceperm={perm}")).await;
    assert_eq!(answer["status"], "OK", "{answer}");
    assert_eq!(world.rows("stream/info?path=/a").await[0]["produceperm"], "u:ann | g:qa");
    let answer = world.post_form("stream/edit?path=/a", "ttl=5").await;
    assert_eq!(answer["status"], "OK", "{answer}");
    assert_eq!(world.rows("stream/info?path=/a").await[0]["ttl"], 5);
    let long = format!("path=/a&produceperm={}", "a".repeat(3 << 20));
    assert_eq!(world.post_form("stream/edit", &long).await["status"], "ERROR");
}

#[tokio::test]
async fn compaction_is_switched_on_and_shown() {
    let world = World::new().await;
    world.rows("stream/create?path=/a&deleteretention=70").await;
    world.rows("stream/edit?path=/a&compact=true&mincompactionlag=5").await;
    let info = world.rows("stream/info?path=/a").await.remove(0);
    let shown = ["compact", "mincompactionlagms", "deleteretentionms", "recordscompacted"];
    assert_eq!(shown.map(|key| info[key].to_string()), ["true", "5", "70", "0"]);
    world.rows("stream/edit?path=/a&compact=false").await;
    assert_eq!(world.rows("stream/info?path=/a").await[0]["compact"], false);
}

#[tokio::test]
async fn the_door_opens_on_loopback_only() {
    let world = World::new().await;
    let door = |insecure| {
        let settings = mainstem_admin::AdminSettings { insecure, ..Default::default() };
        let env = mainstem_env::Env::system();
        mainstem_admin::AdminDoor::new(world.engine.clone(), world.links.clone(), env, settings)
    };
    let refused = door(false).open("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert!(refused.message().contains("127.0.0.1"), "{refused}");
    let open = door(false).open("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = open.address();
    let taken = door(false).open(address).await.unwrap_err();
    assert!(taken.message().contains(&address.to_string()), "{taken}");
    open.close().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
